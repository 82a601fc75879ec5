"""Prompt Workbench: words, soft prompts and weight adapters on one frozen 4-bit base model."""

__version__ = "0.1.0"
