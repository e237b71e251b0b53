"""What one end of a pair is: kernel, MTU, congestion control, and how busy its processors were."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tokenmark_schemas.probe_result import EndFacts

Raw = dict[str, Any]


def raw_facts() -> Raw:
    """Facts and counters of this machine, as the answering agent hands them out."""
    return {
        "node": os.environ.get("TOKENMARK_NODE"),
        "kernel": platform.release(),
        "iperf3_version": iperf3_version(),
        "mtu_bytes": _mtu(),
        "congestion_control": _read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "cpus": float(os.cpu_count() or 1),
        **_ticks(),
        "throttled_us": _throttled_us(),
    }


def end_facts(before: Raw, after: Raw) -> EndFacts:
    """Two readings of one end -> what stands in a result. Raises KeyError, TypeError, ValueError on what is no reading."""
    total = after["total_ticks"] - before["total_ticks"]
    throttled = None
    if before["throttled_us"] is not None and after["throttled_us"] is not None:
        throttled = (after["throttled_us"] - before["throttled_us"]) / 1e6
    named = ("node", "kernel", "iperf3_version", "mtu_bytes", "congestion_control", "cpus")
    return EndFacts(
        **{name: after[name] for name in named}, throttled_s=throttled,
        cpu_used_ratio=round((after["busy_ticks"] - before["busy_ticks"]) / total, 3) if total > 0 else None,
    )  # fmt: skip


@cache
def iperf3_version() -> str | None:
    try:
        out = subprocess.run(["iperf3", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    match = re.search(r"iperf (\S+)", out)
    return match[1] if match else None


def _ticks() -> dict[str, int]:
    """Of all processors together: fields of /proc/stat's first line; idle and iowait are not busy."""
    text = _read("/proc/stat")
    if not text:
        return {"busy_ticks": 0, "total_ticks": 0}
    fields = [int(word) for word in text.splitlines()[0].split()[1:9]]
    return {"busy_ticks": sum(fields) - fields[3] - fields[4], "total_ticks": sum(fields)}


def _throttled_us() -> int | None:
    for path, scale in (("/sys/fs/cgroup/cpu.stat", 1), ("/sys/fs/cgroup/cpu/cpu.stat", 1000)):
        match = re.search(r"^throttled_(?:usec|time) (\d+)$", _read(path) or "", re.MULTILINE)
        if match:
            return int(match[1]) // scale
    return None


def _mtu() -> int | None:
    """Of the interface that the default route takes, else of any."""
    routes = (_read("/proc/net/route") or "").splitlines()[1:]
    found = [line.split()[0] for line in routes if line.split()[1] == "00000000"]
    found += sorted(path.name for path in Path("/sys/class/net").glob("*") if path.name != "lo")
    text = _read(f"/sys/class/net/{found[0]}/mtu") if found else None
    return int(text) if text and text.isdigit() else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
