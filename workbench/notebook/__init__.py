"""The door for Python: what `import workbench` gives, for notebooks and scripts; docs/python.md."""
