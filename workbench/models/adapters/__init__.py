"""Weight adapters: read, checked, applied to the base row by row, merged into a copy of it."""
