"""The list of runs, wherever they lie. May import: config and everything below it."""
