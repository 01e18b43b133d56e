"""Floor 5: topics and their partitions, by name."""
