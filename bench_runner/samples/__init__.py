"""Raw bytes and stamps -> samples, metrics and sums over them. May import: engines and below."""
