"""Other tools' definitions of the same numbers. May import: analysis and below."""
