"""Folders: what is built stays in a cache outside the tree; what runs lives in a state folder with short paths."""

from __future__ import annotations

import os
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
TOOLS = Path(__file__).resolve().parent / "tools"
CACHE = Path(os.environ.get("TOKENMARK_CLUSTER_CACHE") or Path.home() / ".cache" / "tokenmark" / "cluster")
STATE = Path(os.environ.get("TOKENMARK_CLUSTER_STATE") or "/var/lib/tokenmark-cluster")
LOGS = STATE / "log"
RUN = STATE / "run"
PKI = STATE / "pki"


def make() -> None:
    """The cache folder; the state folder belongs to `up`."""
    CACHE.mkdir(parents=True, exist_ok=True)


def note(text: str) -> None:
    """One line of progress."""
    print(f"cluster: {text}", flush=True)
