"""Two visitors who ask an app of strangers for a long time: equal answers, and no more memory."""
