"""Tasks: labelled samples in three frozen splits, and where they come from."""
