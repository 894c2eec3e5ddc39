"""Nodes: the hosts of a testbed. One small file per kind; `base` says what every kind can do."""
