"""Rows without labels answered with a finished run: in chunks, resumed after a kill."""
