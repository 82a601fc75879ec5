"""Learned vectors as arrays: neighbours, clusters, projections, chance; numpy alone."""
