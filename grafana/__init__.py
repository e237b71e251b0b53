"""Dashboards as code: one module each, panels that all share, and the JSON that is generated and committed beside them."""
