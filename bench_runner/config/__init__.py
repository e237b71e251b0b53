"""Flags and manifests -> RunConfig: how the command line arrives at what the operator writes. May import: analysis
and below."""
