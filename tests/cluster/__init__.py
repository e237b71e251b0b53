"""The cluster that e2e runs on: an existing kubeconfig, kind where a Docker engine answers, else an embedded one.

The embedded cluster is real Kubernetes on one Debian machine without Docker: unmodified upstream programs built from Go
modules, every node a network namespace with its own containerd, kubelet and kube-proxy.
"""
