"""Methods: the ways to make one frozen base do a task, one file per method."""
