"""Opening what was learned: one file per reading."""
