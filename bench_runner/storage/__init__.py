"""Where results go: the run's folder, the request log, a pod's frames. May import: samples and below."""
