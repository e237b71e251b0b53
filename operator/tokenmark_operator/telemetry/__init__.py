"""`/metrics`: results projected from objects, and the operator's own counters. May import: core and below."""
