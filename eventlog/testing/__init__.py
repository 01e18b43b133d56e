"""Floor 9: for tests of programs that use a log, and of the log itself."""
