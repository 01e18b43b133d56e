"""Floor 3: one partition's files, and what happens to them in a crash."""
