"""Watches, queue, API, cache, logs and the loop between them: knows no kind. May import: shared and below."""
