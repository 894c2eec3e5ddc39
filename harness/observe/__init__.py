"""Witnesses: what clients saw (probe), what the wire carried and what nodes' kernels did (observer)."""
