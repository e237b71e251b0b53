"""What is asked: prompts, data sets, conversations. May import: samples and below."""
