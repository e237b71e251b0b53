"""The way to the target and what it says of itself beside the load. May import: load and below."""
