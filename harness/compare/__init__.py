"""Two sets of drills, and whether the second is better, the same or worse: pure, from results on disk."""
