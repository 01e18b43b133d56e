"""Floor 1: the only code that touches the operating system."""
