"""A port of loopback that nobody uses."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Free now; whoever asks binds it soon."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
