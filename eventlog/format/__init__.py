"""Floor 2: the only code that knows bytes."""
