"""Collected samples -> results, verdict, objectives, searches, stop rules; pure. May import: target and below."""
