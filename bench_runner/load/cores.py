"""How many processors this process may really use: its affinity, and the quota of its cgroup."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> float:
    """A pod with a limit of one sees every core of its node, and is stopped for using more than one."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(float(seen), _quota(cgroup))


def _quota(cgroup: Path) -> float:
    for read in (_version_2, _version_1):
        try:
            quota, period = read(cgroup)
        except (OSError, ValueError):
            continue
        if quota > 0 and period > 0:
            return quota / period
    return float("inf")


def _version_2(cgroup: Path) -> tuple[int, int]:
    quota, period = (cgroup / "cpu.max").read_text().split()
    return int(quota), int(period)


def _version_1(cgroup: Path) -> tuple[int, int]:
    folder = cgroup / "cpu"
    return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())
