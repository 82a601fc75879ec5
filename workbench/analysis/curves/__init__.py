"""Learning curves, sweeps and wordings: lines over an axis."""
