"""The pytest suites: one file per property, `incidents/`, and `selftest/` for the harness itself."""
