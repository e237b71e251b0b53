"""Several pods that drive one load together: one leads, the others follow. May import: instrument and below."""
