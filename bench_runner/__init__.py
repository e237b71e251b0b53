"""The load generator and all that reads its results."""
