"""A guided look at a soft prompt that comes along."""
