"""The target's machine: read from its own files and from a node exporter's page, put into results, judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_runner.analysis.verdict import judge
from bench_runner.target.gauges import Gauge
from bench_runner.target.host import Busy, NodeExporter, Proc, growth, host_of, host_use, node_counters, node_readings
from bench_runner.target.prometheus_page import read_page
from tests.support.results import a_stage
from tokenmark_schemas.result import GpuUse, HostUse, MeasuredStage, StageResources
from tokenmark_schemas.run import RunTarget

GIB_KB = 2**20


def a_machine(root: Path, *, busy: int, idle: int, swapped: int = 0, throttles: int = 0, heat: int = 55_000) -> Path:
    """Ticks since boot, pages, counts, thousandths of a degree."""
    files = {
        "proc/stat": f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4\n",
        "proc/meminfo": f"MemTotal: {8 * GIB_KB} kB\nMemFree: 1 kB\nMemAvailable: {6 * GIB_KB} kB\nSwapTotal: {2 * GIB_KB} kB\nSwapFree: {GIB_KB} kB\n",
        "proc/vmstat": f"nr_free_pages 7\npswpin {swapped}\npswpout 5\n",
        "sys/class/thermal/thermal_zone0/temp": f"{heat}\n",
        "sys/class/thermal/thermal_zone1/temp": "30000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2000000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": f"{throttles}\n",
        "sys/class/powercap/intel-rapl:0/name": "package-0\n",
        "sys/class/powercap/intel-rapl:0/energy_uj": f"{busy * 1_000_000 % 65_000_000}\n",
        "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "65000000\n",
        "sys/class/powercap/intel-rapl:0:0/name": "core\n",  # a part of the first
        "sys/class/powercap/intel-rapl:1/name": "psys\n",  # all of it once more
        "sys/class/powercap/intel-rapl:1/energy_uj": f"{busy * 2_000_000}\n",
        "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "65000000\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_is_read_between_two_looks(tmp_path: Path) -> None:
    proc = Proc(a_machine(tmp_path, busy=100, idle=900))
    assert "cpu" not in (proc.read() or {}), "a share needs two readings"
    a_machine(tmp_path, busy=175, idle=925)
    found = proc.read()
    assert found is not None
    assert found["cpu"] == pytest.approx(0.75)
    assert found["memory_bytes"] == 2 * 2**30
    assert (found["swap_bytes"], found["temperature_celsius"], found["clock_hz"]) == (2**30, 55.0, 2.5e9)


def test_counters_are_growth_and_one_that_began_anew_is_not_known(tmp_path: Path) -> None:
    proc = Proc(a_machine(tmp_path, busy=1, idle=1, swapped=10, throttles=3))
    before = proc.counters()
    a_machine(tmp_path, busy=13, idle=1, swapped=14, throttles=5)
    assert growth(before, proc.counters()) == {"swapped_bytes": 4 * 4096, "throttles": 2, "energy_j": 12}
    assert growth({"throttles": 5.0}, {"throttles": 1.0}) == {}
    assert growth({"throttles": 5.0}, {}) == {}


def test_energy_is_counted_over_the_turns_of_its_counter(tmp_path: Path) -> None:
    proc = Proc(a_machine(tmp_path, busy=10, idle=1))
    before = proc.counters()
    for busy in range(50, 400, 50):  # joules, of a counter that turns at 65
        a_machine(tmp_path, busy=busy, idle=1)
        proc.read()
    assert growth(before, proc.counters())["energy_j"] == pytest.approx(340)


def test_a_machine_that_tells_nothing_has_nothing(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    assert (proc.read(), proc.counters()) == (None, {})


PAGE = """# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{cpu="0",mode="idle"} %d
node_cpu_seconds_total{cpu="0",mode="iowait"} 10
node_cpu_seconds_total{cpu="0",mode="user"} %d
node_memory_MemTotal_bytes 1000
node_memory_MemAvailable_bytes 400
node_memory_SwapTotal_bytes 100
node_memory_SwapFree_bytes 90
node_vmstat_pswpin 3
node_vmstat_pswpout 4
node_thermal_zone_temp{zone="0"} 61
node_hwmon_temp_celsius{chip="a"} 72.5
node_cpu_scaling_frequency_hertz{cpu="0"} 2e9
node_cpu_core_throttles_total{core="0"} 2
node_cpu_core_throttles_total{core="1"} 1
"""


def test_a_node_exporter_says_the_same() -> None:
    busy = Busy()
    node_readings(read_page(PAGE % (100, 50)), busy)
    found = node_readings(read_page(PAGE % (120, 130)), busy)
    assert found == {
        "cpu": pytest.approx(0.8), "memory_bytes": 600, "memory_total_bytes": 1000, "swap_bytes": 10, "temperature_celsius": 72.5, "clock_hz": 2e9,
    }  # fmt: skip
    assert node_counters(read_page(PAGE % (1, 1))) == {"swapped_bytes": 7 * 4096, "throttles": 3}


def test_who_is_asked() -> None:
    target = RunTarget(engine="openai", model="m", url="http://10.0.0.1:8000")
    assert host_of(target) is None
    assert isinstance(host_of(target.model_copy(update={"url": "http://127.0.0.1:8000"})), Proc)
    assert isinstance(
        host_of(target.model_copy(update={"host_metrics_url": "http://10.0.0.1:9100/metrics"})), NodeExporter
    )


def test_a_counter_that_one_repetition_does_not_tell_is_not_known_for_the_stage() -> None:
    gauges = {"cpu": Gauge(1.5, 3, 0.9)}
    found = host_use(Proc(), gauges, [{"throttles": 1.0, "swapped_bytes": 4096.0}, {"throttles": 2.0}])
    assert found is not None
    assert (found.cpu_avg, found.cpu_peak, found.throttles, found.swapped_bytes, found.samples) == (
        0.5,
        0.9,
        3,
        None,
        3,
    )
    assert host_use(Proc(), {}, []) is None


def judged(resources: StageResources, stage: MeasuredStage | None = None) -> list[tuple[str, str]]:
    found = judge(
        [(stage or a_stage()).model_copy(update={"resources": resources})],
        warmup_requests=10,
        attempt=1,
        interrupted=False,
        stamps="kernel",
    )
    return [(found.state, reason.code) for reason in found.reasons]


def test_heat_and_swap_and_idle_gpus_make_a_run_degraded() -> None:
    host = HostUse(source="proc", samples=9, interval_s=0.5)
    assert judged(StageResources(host=host.model_copy(update={"throttles": 0, "swapped_bytes": 2**20}))) == []
    assert judged(StageResources(host=host.model_copy(update={"throttles": 1}))) == [("degraded", "throttled")]
    assert judged(StageResources(host=host.model_copy(update={"swapped_bytes": 2**21}))) == [("degraded", "swapping")]
    idle = StageResources(gpu=GpuUse(source="nvml", utilization_avg=0.79, samples=9, interval_s=1.0))
    full = StageResources(gpu=GpuUse(source="nvml", utilization_avg=0.80, samples=9, interval_s=1.0))
    assert (judged(idle), judged(full)) == ([("degraded", "gpu_underused")], [])


def test_an_open_loop_may_leave_gpus_idle() -> None:
    idle = StageResources(gpu=GpuUse(source="nvml", utilization_avg=0.1, samples=9, interval_s=1.0))
    stage = a_stage()
    opened = stage.model_copy(update={"load": stage.load.model_copy(update={"concurrency": None, "request_rate": "5"})})
    assert judged(idle, opened) == []


def test_a_number_that_is_none_is_passed_by() -> None:
    page = "node_vmstat_pswpin +Inf\nnode_vmstat_pswpout 3\nnode_memory_MemTotal_bytes +Inf\nnode_memory_MemAvailable_bytes 1\n"
    series = list(read_page(page))
    assert node_readings(series, Busy()) == {}
    assert node_counters(series)["swapped_bytes"] == 3 * 4096
