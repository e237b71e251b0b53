"""Databases: records that the run makes, calls on them, and how many of the nearest vectors those found. Beside the engines, whose answers are
token streams, these have no first token: a call has a beginning and an end.
"""
