"""What is read beside the load: the engine's queues, and GPUs by the driver's library or an exporter's page.

There is no GPU here: a stand-in library with NVML's entry points, compiled for the test, is what the real binding loads.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench_runner.target.gpu import dcgm_readings
from bench_runner.target.prometheus_page import read_page
from tests.accuracy.test_truth import CLI, simulator
from tests.support.serving import in_thread

DCGM = """# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"} 90
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-2",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"} 50
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-1",modelName="NVIDIA H100 80GB HBM3"} 70000
DCGM_FI_DEV_FB_USED{gpu="1",UUID="GPU-2",modelName="NVIDIA H100 80GB HBM3"} 60000
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1"} 650.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-2"} NaN
"""
NVML = r"""
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned long long total, free, used; } memory;
static unsigned reads = 0;
int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "not supported"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned size) { __builtin_strcpy(name, "Stand-in 9000"); return 0; }
int nvmlDeviceGetUtilizationRates(void *device, utilization *out) {
    out->gpu = (long)device == 1 ? 80 : (reads++ % 2 ? 20 : 60);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *out) { out->used = 3ULL << 30; return 0; }
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) { return 3; }
"""


def ran(url: str, out: Path, *flags: str, **env: str) -> dict[str, Any]:
    words = [*CLI, "run", "--target", url, "--model", "sim", "--out", str(out), "--name", "t", "--format", "json", "--quiet",
             "--warmup-requests", "0", *flags]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **env})
    assert done.returncode in (0, 4), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_queues_are_seen_while_the_load_runs_and_not_after_it(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("slots: 2\nttft_ms: 20\nitl_ms: 5\n")
    with simulator(tmp_path, "--scenario", str(tmp_path / "two.yaml")) as (url, _):
        result = ran(
            url, tmp_path, "--engine", "vllm", "--concurrency", "6", "--duration", "7", "--max-output-tokens", "16"
        )
    stage = result["stages"][0]
    server = stage["server"]
    assert (server["requests_running"], server["requests_running_peak"]) == (2, 2)
    assert server["requests_waiting_peak"] == 4
    assert 2 < server["requests_waiting"] <= 4
    assert server["output_tokens"] >= stage["tokens"]["output"] > 500


def test_the_drivers_library_is_read_every_second(tmp_path: Path) -> None:
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=NVML, text=True, check=True)
    with simulator(tmp_path) as (url, _):
        result = ran(url, tmp_path, "--concurrency", "2", "--duration", "4", LD_LIBRARY_PATH=str(tmp_path))
    gpu = result["stages"][0]["resources"]["gpu"]
    assert (gpu["source"], gpu["count"]) == ("nvml", 2)
    assert gpu["samples"] >= 3
    assert 0.5 < gpu["utilization_avg"] < 0.7
    assert gpu["utilization_peak"] == pytest.approx(0.7)
    assert gpu["memory_avg_bytes"] == gpu["memory_peak_bytes"] == 6 * 2**30
    assert gpu["power_w"] is None, "a device that does not tell is not one that draws nothing"
    assert result["provenance"]["environment"]["gpu_model"] == "Stand-in 9000"


@contextmanager
def exporter(page: str) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server, in_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics"


def test_an_exporters_page_is_read_where_one_is_named(tmp_path: Path) -> None:
    with simulator(tmp_path) as (url, _), exporter(DCGM) as page:
        result = ran(url, tmp_path, "--concurrency", "2", "--duration", "2", "--gpu-metrics", page)
    gpu = result["stages"][0]["resources"]["gpu"]
    assert (gpu["source"], gpu["count"]) == ("dcgm", 2)
    assert gpu["utilization_avg"] == gpu["utilization_peak"] == pytest.approx(0.7)
    assert gpu["memory_peak_bytes"] == 130_000 * 2**20
    assert gpu["power_w"] == pytest.approx(650.5)
    assert result["provenance"]["environment"]["gpu_model"] == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize("page", ["", "garbage {", "DCGM_FI_DEV_GPU_UTIL{} many\n", "node_load1 3\n"])
def test_a_page_without_gpus_tells_of_none(page: str) -> None:
    assert dcgm_readings(read_page(page)) is None


def test_without_a_gpu_nothing_is_said(tmp_path: Path) -> None:
    with simulator(tmp_path) as (url, _):
        result = ran(url, tmp_path, "--concurrency", "2", "--duration", "1")
    assert result["stages"][0]["resources"] is None
    assert "gpu_model" not in result["provenance"]["environment"]
