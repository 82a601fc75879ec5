"""Runs made by other processes, here or on a cluster."""
