"""What is measured beside runs: a base in several precisions, and what runs forgot."""
