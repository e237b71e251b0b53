"""Where samples and results go: files, the pod's log, its termination message."""
