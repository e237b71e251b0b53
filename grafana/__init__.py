"""Dashboards as code; the JSON beside it is generated and committed."""
