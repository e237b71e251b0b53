"""Whether an answer is right, by programs alone; imports the contracts."""
