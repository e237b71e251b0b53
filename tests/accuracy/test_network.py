"""The probe against what is known of a wire: a C ping-pong, iperf3 by hand, a delay and a rate that were put there."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import rig
from tests.support import wires
from tests.support.wires import FAR, FAR_ADDRESS, NEAR, NEAR_ADDRESS, inside, probed, started
from tokenmark_schemas.netprobe import ProbeTest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root")
RATE_HZ, SECONDS = 1000, 3
PING = ProbeTest(name="rtt", type="TCPLatency", duration_seconds=SECONDS, rate_hz=RATE_HZ)


@pytest.fixture(scope="module")
def pingpong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rig.build(tmp_path_factory.mktemp("rig")) / "pingpong"


@pytest.fixture
def joined() -> Iterator[None]:
    with wires.wire(), wires.agent():
        yield


def p50_us(folder: Path, host: str = FAR_ADDRESS) -> float:
    result = probed(folder, PING, host=host)
    (measured,) = result.measurements
    assert measured.rtt is not None, measured.error
    assert measured.stamps == "kernel"
    return measured.rtt.p50_ns / 1000


def test_the_median_round_trip_is_that_of_a_ping_pong_in_c(joined: None, pingpong: Path, tmp_path: Path) -> None:
    with started(FAR, pingpong, "server", "5300", says="ready"):
        words = inside(NEAR, pingpong, "client", FAR_ADDRESS, "5300", "64", str(RATE_HZ), str(SECONDS))
        ours, floor = [], []
        for _ in range(3):
            ours.append(p50_us(tmp_path))
            floor.append(
                int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[1]) / 1000
            )
    assert abs(statistics.median(ours) - statistics.median(floor)) < 10, (ours, floor)


def test_a_delay_of_half_a_millisecond_is_found_within_a_twentieth(
    joined: None, pingpong: Path, tmp_path: Path
) -> None:
    found = {}
    for delay in (0, 250):
        ports = [("5202", str(delay)), ("5203", "0")]
        relays = [started(NEAR, pingpong, "relay", port, FAR_ADDRESS, port, us, says="ready") for port, us in ports]
        with relays[0], relays[1]:
            found[delay] = min(p50_us(tmp_path, NEAR_ADDRESS) for _ in range(3))
    assert abs(found[250] - found[0] - 500) < 25, found


@pytest.mark.parametrize("direction", ["Forward", "Reverse"])
def test_throughput_is_what_iperf3_says_by_hand_in_the_same_minute(tmp_path: Path, direction: str) -> None:
    test = ProbeTest(name="bw", type="Throughput", duration_seconds=4, omit_seconds=2, direction=direction)
    back = ["--reverse"] if direction == "Reverse" else []
    by_hand = inside(NEAR, "iperf3", "-c", FAR_ADDRESS, "-J", "-t", "4", "-O", "2", *back)
    with wires.wire(megabits=200), wires.agent():
        result = probed(tmp_path, test)
        document = json.loads(subprocess.run(by_hand, capture_output=True, text=True, check=True).stdout)
    measured = result.measurements[0].throughput
    assert measured is not None, result.measurements[0].error
    flow = measured.reverse if direction == "Reverse" else measured.forward
    assert flow is not None
    known = document["end"]["sum_received"]["bits_per_second"]
    assert flow.bits_per_second == pytest.approx(known, rel=0.02)
    assert 150e6 < flow.bits_per_second < 200e6


def test_a_full_wire_is_seen_by_the_ping_beside_it(tmp_path: Path) -> None:
    """50 ms of queue at 20 Mbit/s: everybody else waits behind the flow."""
    test = ProbeTest(
        name="bw", type="Throughput", duration_seconds=5, omit_seconds=2, ping_beside=True, parallel_streams=4
    )
    with wires.wire(megabits=20), wires.agent():
        result = probed(tmp_path, PING, test)
    by_test = {m.test: m for m in result.measurements}
    idle, loaded = by_test["rtt"].rtt, by_test["bw"].loaded_rtt
    assert idle is not None
    assert loaded is not None, by_test["bw"].error
    assert loaded.p50_ns > 20 * idle.p50_ns, (idle, loaded)
