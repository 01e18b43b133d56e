"""Floor 7: the consumer."""
