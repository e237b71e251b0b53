"""RunResult -> something to read (pure)."""
