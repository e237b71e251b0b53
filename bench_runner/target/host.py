"""The target's machine while load runs: processors, memory, swap, temperature, clock, throttling. From /proc and /sys where server and
client share it (the client is part of what is seen then), from a node exporter's page where one is named.

Linux: /proc/stat, /proc/meminfo, /proc/vmstat (pages), /sys/class/thermal, /sys/devices/system/cpu. Node exporter 1.x: node_cpu_seconds_total,
node_memory_*, node_vmstat_pswp*, node_thermal_zone_temp, node_hwmon_temp_celsius, node_cpu_scaling_frequency_hertz, node_cpu_core_throttles_total.
What a machine does not tell is absent.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from tokenmark_schemas.result import HostUse
from tokenmark_schemas.run import RunTarget

from .gauges import Gauges
from .gpu import is_here
from .http_get import fetch
from .prometheus_page import read_page

Readings = dict[str, float]
Series = Iterable[tuple[str, Mapping[str, str], float]]
MILLI, MICRO = 1e-3, 1e-6


class Host(Protocol):
    """Somebody who can tell of the machine."""

    source: Literal["proc", "node-exporter"]
    every_s: float

    def read(self) -> Readings | None:
        """cpu (0 to 1, since the reading before), memory_bytes, memory_total_bytes, swap_bytes, temperature_celsius, clock_hz."""

    def counters(self) -> Readings:
        """swapped_bytes, throttles, energy_j (of the processors' packages): what only grows."""


def host_of(target: RunTarget) -> Host | None:
    """Whom to ask about the target's machine; None where nobody can tell."""
    if target.host_metrics_url:
        return NodeExporter(target.host_metrics_url)
    return Proc() if is_here(target.url) and Path("/proc/stat").exists() else None


def host_use(host: Host, gauges: Gauges, growths: list[Readings]) -> HostUse | None:
    """Readings and growths of a stage as they stand in its result."""
    if not gauges:
        return None

    def part(name: str, which: str) -> float | None:
        return getattr(gauges[name], which) if name in gauges else None

    def spent(name: str) -> float | None:
        known = [growth[name] for growth in growths if name in growth]
        return sum(known) if known and len(known) == len(growths) else None

    def grown(name: str) -> int | None:
        return None if (found := spent(name)) is None else round(found)

    return HostUse(
        source=host.source, cpu_avg=part("cpu", "mean"), cpu_peak=part("cpu", "peak"), memory_avg_bytes=part("memory_bytes", "mean"),
        memory_peak_bytes=part("memory_bytes", "peak"), memory_total_bytes=part("memory_total_bytes", "peak"),
        swap_peak_bytes=part("swap_bytes", "peak"), swapped_bytes=grown("swapped_bytes"),
        temperature_peak_celsius=part("temperature_celsius", "peak"), clock_avg_hz=part("clock_hz", "mean"), throttles=grown("throttles"), energy_j=spent("energy_j"),
        samples=max(gauge.count for gauge in gauges.values()), interval_s=host.every_s,
    )  # fmt: skip


def growth(before: Readings, after: Readings) -> Readings:
    """How far each counter went; one that went down began anew, and is not known."""
    return {name: after[name] - value for name, value in before.items() if after.get(name, -1.0) >= value}


class Busy:
    """Busy share of processors out of (busy, all) seconds that only grow."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def since(self, busy: float, whole: float) -> Readings:
        before, self._before = self._before, (busy, whole)
        if before is None or whole <= before[1]:
            return {}
        return {"cpu": min(1.0, max(0.0, (busy - before[0]) / (whole - before[1])))}


class Proc:
    """This machine."""

    source: Literal["proc", "node-exporter"] = "proc"
    every_s = 0.5

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc, self._sys, self._busy = root / "proc", root / "sys", Busy()
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._joules: dict[
            str, tuple[float, float]
        ] = {}  # by zone: microjoules since the first look, and what was read last

    def read(self) -> Readings | None:
        self._energy()
        found = self._processors() | self._memory()
        if (temperature := self._most("class/thermal", "thermal_zone*/temp")) is not None:
            found["temperature_celsius"] = temperature * MILLI
        clocks = self._numbers("devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq")
        if clocks:
            found["clock_hz"] = 1000 * sum(clocks) / len(clocks)
        return found or None

    def counters(self) -> Readings:
        found = {}
        pages = dict(line.split() for line in self._lines("vmstat") if line.startswith("pswp"))
        if {"pswpin", "pswpout"} <= pages.keys():
            found["swapped_bytes"] = float((int(pages["pswpin"]) + int(pages["pswpout"])) * self._page)
        throttles = self._numbers("devices/system/cpu", "cpu[0-9]*/thermal_throttle/core_throttle_count")
        if throttles:
            found["throttles"] = sum(throttles)
        return found | self._energy()

    def _energy(self) -> Readings:
        """Of the processors' packages, which one zone each is named after ("psys" holds them once more); AMD's processors have it under Intel's name, and
        on most machines root alone reads it. The counter begins anew at its range, after a quarter of an hour under load: looked at more often than that
        the turns are counted."""
        for zone in sorted((self._sys / "class/powercap").glob("intel-rapl:[0-9]*")):
            try:
                if not (zone / "name").read_text().startswith("package"):
                    continue
                now, most = float((zone / "energy_uj").read_text()), float((zone / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                continue
            before = self._joules.get(zone.name, (0.0, now))
            self._joules[zone.name] = before[0] + (now - before[1] if now >= before[1] else most - before[1] + now), now
        return {"energy_j": sum(spent for spent, _ in self._joules.values()) * MICRO} if self._joules else {}

    def _processors(self) -> Readings:
        """user nice system idle iowait irq softirq steal: idle and iowait are not busy."""
        first = next((line.split()[1:9] for line in self._lines("stat") if line.startswith("cpu ")), [])
        if len(first) < 5:
            return {}
        ticks = [float(value) for value in first]
        return self._busy.since(sum(ticks) - ticks[3] - ticks[4], sum(ticks))

    def _memory(self) -> Readings:
        said = {
            name: int(rest.split()[0]) * 1024
            for name, _, rest in (line.partition(":") for line in self._lines("meminfo"))
            if rest.split()
        }
        found: Readings = {}
        if {"MemTotal", "MemAvailable"} <= said.keys():
            found |= {
                "memory_bytes": float(said["MemTotal"] - said["MemAvailable"]),
                "memory_total_bytes": float(said["MemTotal"]),
            }
        if {"SwapTotal", "SwapFree"} <= said.keys():
            found["swap_bytes"] = float(said["SwapTotal"] - said["SwapFree"])
        return found

    def _lines(self, name: str) -> list[str]:
        try:
            return (self._proc / name).read_text().splitlines()
        except OSError:
            return []

    def _numbers(self, folder: str, pattern: str) -> list[float]:
        found = []
        for path in sorted((self._sys / folder).glob(pattern)):
            try:
                found.append(float(path.read_text()))
            except (OSError, ValueError):
                continue
        return found

    def _most(self, folder: str, pattern: str) -> float | None:
        return max(self._numbers(folder, pattern), default=None)


class NodeExporter:
    """A node exporter's page: one machine's, so the address of the exporter on the target's node. Parsing it takes the client
    milliseconds, so it is read less often than /proc."""

    source: Literal["proc", "node-exporter"] = "node-exporter"
    every_s = 2.0

    def __init__(self, url: str) -> None:
        self._url, self._busy = url, Busy()

    def _page(self) -> list[tuple[str, Mapping[str, str], float]]:
        return list(read_page((fetch(self._url) or b"").decode("utf-8", "replace")))

    def read(self) -> Readings | None:
        return node_readings(self._page(), self._busy) or None

    def counters(self) -> Readings:
        return node_counters(self._page())


def node_readings(series: Series, busy: Busy) -> Readings:
    values: dict[str, list[float]] = {}
    idle = whole = 0.0
    for name, labels, value in series:
        if not math.isfinite(value):
            continue
        if name == "node_cpu_seconds_total":
            whole += value
            idle += value if labels.get("mode") in ("idle", "iowait") else 0.0
        values.setdefault(name, []).append(value)

    def one(name: str) -> float | None:
        return values[name][0] if name in values else None

    found = busy.since(whole - idle, whole) if whole else {}
    total, free = one("node_memory_MemTotal_bytes"), one("node_memory_MemAvailable_bytes")
    if total is not None and free is not None:
        found |= {"memory_bytes": total - free, "memory_total_bytes": total}
    swap, unused = one("node_memory_SwapTotal_bytes"), one("node_memory_SwapFree_bytes")
    if swap is not None and unused is not None:
        found["swap_bytes"] = swap - unused
    if heat := [*values.get("node_thermal_zone_temp", []), *values.get("node_hwmon_temp_celsius", [])]:
        found["temperature_celsius"] = max(heat)
    if clocks := values.get("node_cpu_scaling_frequency_hertz"):
        found["clock_hz"] = sum(clocks) / len(clocks)
    return found


def node_counters(series: Series) -> Readings:
    pages = os.sysconf("SC_PAGE_SIZE")
    sums: Readings = {}
    for name, _, value in series:
        if not math.isfinite(value):
            continue
        if name in ("node_vmstat_pswpin", "node_vmstat_pswpout"):
            sums["swapped_bytes"] = sums.get("swapped_bytes", 0.0) + value * pages
        elif name == "node_cpu_core_throttles_total":
            sums["throttles"] = sums.get("throttles", 0.0) + value
    return sums
