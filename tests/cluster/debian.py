"""What this machine lacks of Debian's packages, installed once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from .layout import CACHE, note
from .shell import ClusterError, run


def have(wanted: Mapping[str, str]) -> None:
    """`wanted` are packages by the program on PATH, or the file, that each brings. Raises ClusterError where what is missing cannot be installed."""
    missing = sorted(
        {
            package
            for brings, package in wanted.items()
            if not (Path(brings).exists() if "/" in brings else shutil.which(brings))
        }
    )
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ClusterError(f"this machine lacks what a test needs; install it and try again: {' '.join(missing)}")
    note(f"installing from Debian: {' '.join(missing)}")
    env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # nothing that is installed is started
    run(["apt-get", "update"], log=CACHE / "apt.log")
    run(["apt-get", "install", "-y", "--no-install-recommends", *missing], log=CACHE / "apt.log", env=env)
