"""Analysis: what stored runs say together; reads the run store, never a model."""
