"""Runs: what was asked for, what happened, and where it is stored."""
