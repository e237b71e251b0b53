"""The kinds: one row each, and the pure life behind it. A new kind is a file and a row. May import: core and below."""
