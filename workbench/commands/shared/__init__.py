"""What several commands share: their options, and what they do with an experiment or a run."""
