"""The gate's operating curve: how often it alarms for nothing, how often it finds what is there."""
