"""What all kinds have in common: facts, steps, conditions, admission; pure. May import: observe and below."""
