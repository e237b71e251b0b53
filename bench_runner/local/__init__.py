"""Models and servers of this machine: files, what they need, where they come from. May import everything below the verbs."""
