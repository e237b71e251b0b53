"""The operator: objects in, Jobs out; kopf only at the edge."""
