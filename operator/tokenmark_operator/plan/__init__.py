"""Spec -> manifests. Pure: same spec, same bytes; "now" is a parameter."""
