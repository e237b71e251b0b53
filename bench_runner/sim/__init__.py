"""`tokenmark sim`: a server whose answers, and the times it really sent them at, are known. May import: load and below."""
