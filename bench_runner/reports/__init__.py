"""RunResult -> something to read (pure). May import: analysis and below."""
