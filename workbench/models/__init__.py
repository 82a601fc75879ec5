"""Base models: where they come from, how they are loaded, and the engine that runs them."""
