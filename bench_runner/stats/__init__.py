"""Distributions, percentiles, intervals; pure, knows no request. May import: the contracts."""
