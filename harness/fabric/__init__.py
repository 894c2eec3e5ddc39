"""Segments, links and addresses, made by netlink inside the bubble's own network namespaces."""
