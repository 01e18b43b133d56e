"""Floor 8: what goes on in a log, for those who look after it."""
