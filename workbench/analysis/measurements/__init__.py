"""Precisions and forgetting as sheets."""
