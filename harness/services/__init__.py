"""Services: what runs on nodes. One small file for each: its configuration, start, readiness, stop."""
