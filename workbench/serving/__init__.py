"""The one base in memory and its answers; no visitor is known here."""
