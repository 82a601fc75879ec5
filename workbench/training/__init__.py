"""The one optimisation loop, what it is told, and where it keeps its place."""
