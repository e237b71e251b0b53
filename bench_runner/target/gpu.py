"""GPUs while load runs: through the driver's library (NVML) where server and client share a machine, from a DCGM exporter's
page where one is named. Utilisation is the mean of all GPUs seen, memory and power are their sums.

NVML: nvmlDeviceGetUtilizationRates, -MemoryInfo, -PowerUsage. DCGM exporter: DCGM_FI_DEV_GPU_UTIL (percent),
DCGM_FI_DEV_FB_USED (MiB), DCGM_FI_DEV_POWER_USAGE (W).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from tokenmark_schemas.result import GpuUse
from tokenmark_schemas.run import RunTarget

from .gauges import Gauges
from .http_get import fetch
from .prometheus_page import read_page

EVERY_S = 1.0
DRIVER = "libnvidia-ml.so.1"
Readings = dict[str, float]


class Gpus(Protocol):
    """Somebody who can tell of GPUs."""

    source: Literal["nvml", "dcgm"]

    def read(self) -> Readings | None:
        """utilization (0 to 1), memory_bytes, power_w, count, as far as they are told."""

    def model(self) -> str | None:
        """What they call themselves."""


def gpus_of(target: RunTarget) -> Gpus | None:
    """Whom to ask about the target's GPUs; None where nobody can tell."""
    if target.gpu_metrics_url:
        return Dcgm(target.gpu_metrics_url)
    return _driver() if is_here(target.url) else None


def use_of(gauges: Gauges, source: Literal["nvml", "dcgm"]) -> GpuUse | None:
    """Readings of a stage as they stand in its result."""
    if not gauges:
        return None

    def part(name: str, which: str) -> float | None:
        return getattr(gauges[name], which) if name in gauges else None

    count = part("count", "peak")
    return GpuUse(
        source=source,
        count=None if count is None else round(count),
        utilization_avg=part("utilization", "mean"),
        utilization_peak=part("utilization", "peak"),
        memory_avg_bytes=part("memory_bytes", "mean"),
        memory_peak_bytes=part("memory_bytes", "peak"),
        power_w=part("power_w", "mean"),
        samples=max(gauge.count for gauge in gauges.values()),
        interval_s=EVERY_S,
    )


class Dcgm:
    """A DCGM exporter's page."""

    source: Literal["nvml", "dcgm"] = "dcgm"

    def __init__(self, url: str) -> None:
        self._url = url
        self._model: str | None = None

    def read(self) -> Readings | None:
        series = list(read_page((fetch(self._url) or b"").decode("utf-8", "replace")))
        named = next((labels["modelName"] for _, labels, _ in series if labels.get("modelName")), None)
        self._model = named[:200] if named else self._model
        return dcgm_readings(series)

    def model(self) -> str | None:
        return self._model


def dcgm_readings(series: Iterable[tuple[str, Mapping[str, str], float]]) -> Readings | None:
    """Samples of the exporter -> readings over all GPUs on it; None where it tells of none."""
    by_name: dict[str, list[float]] = {}
    for name, _, value in series:
        if value == value:
            by_name.setdefault(name, []).append(value)
    found: Readings = {}
    if used := by_name.get("DCGM_FI_DEV_GPU_UTIL"):
        found |= {"utilization": sum(used) / len(used) / 100, "count": float(len(used))}
    if memory := by_name.get("DCGM_FI_DEV_FB_USED"):
        found["memory_bytes"] = sum(memory) * 2**20
    if power := by_name.get("DCGM_FI_DEV_POWER_USAGE"):
        found["power_w"] = sum(power)
    return found or None


class Nvml:
    """The driver of this machine, through NVIDIA's binding; opened when it is first read, while load runs already."""

    source: Literal["nvml", "dcgm"] = "nvml"

    def __init__(self) -> None:
        self._devices: list[Any] | None = None

    def read(self) -> Readings | None:
        if self._devices is None:
            self._devices = self._opened()
        if not self._devices:
            return None
        found = {"count": float(len(self._devices))}
        readings = {
            "utilization": lambda d: self._nvml.nvmlDeviceGetUtilizationRates(d).gpu / 100 / len(self._devices or ()),
            "memory_bytes": lambda d: self._nvml.nvmlDeviceGetMemoryInfo(d).used,
            "power_w": lambda d: self._nvml.nvmlDeviceGetPowerUsage(d) / 1000,
        }
        for name, read in readings.items():
            try:
                found[name] = float(sum(map(read, self._devices)))
            except self._nvml.NVMLError:  # not every device tells everything
                continue
        return found

    def _opened(self) -> list[Any]:
        """The devices; none without the `gpu` extra, or with a driver that does not answer."""
        try:
            import pynvml
        except ImportError:
            return []
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError:
            return []

    def model(self) -> str | None:
        names = []
        for device in self._devices or ():
            with contextlib.suppress(self._nvml.NVMLError):
                names.append(self._nvml.nvmlDeviceGetName(device))
        return ", ".join(sorted({name.decode() if isinstance(name, bytes) else name for name in names})) or None


def _driver() -> Gpus | None:
    """NVML, where the driver is installed; asking the loader is quicker than any import."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return None
    return Nvml()


def is_here(url: str) -> bool:
    """Whether an address is this very machine."""
    import ipaddress  # here, because few milliseconds are all that a start may take

    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
