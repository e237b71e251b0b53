"""Our dashboards in Grafana's own code: its scenes in a headless browser, over a real Prometheus."""
