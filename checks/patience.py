"""How long tests wait for the end of a command that they started."""

from __future__ import annotations

SOON_S = 60.0
"""For what is told to end, or has little to do."""
ENDS_S = 240.0
"""Longer than any of them takes on a busy machine, shorter than what `ci/test` takes for a hanging test."""
