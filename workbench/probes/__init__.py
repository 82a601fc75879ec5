"""Reading what a method learned, each figure beside its controls; one file per reading."""
