"""Floor 7: the producer."""
