"""Where results go: sinks, a file each. May import: shared and below."""
