"""The probe against what is known of a wire: a C ping-pong, iperf3 by hand, and delay, loss and a rate that were put there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import rig
from tests.support import wires
from tests.support.wires import FAR, FAR_ADDRESS, NEAR, inside, probed, started
from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import ProbeMeasurement, Times

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root")
RATE_HZ, SECONDS = 1000, 3
PING = ProbeTest(name="rtt", type="TCPLatency", duration_seconds=SECONDS, rate_hz=RATE_HZ)


@pytest.fixture(scope="module")
def pingpong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rig.build(tmp_path_factory.mktemp("rig")) / "pingpong"


@pytest.fixture(scope="module")
def wire(pingpong: Path) -> Path:
    return pingpong.parent / "wire"


@pytest.fixture
def joined() -> Iterator[None]:
    with wires.wire(), wires.agent():
        yield


def p50_us(folder: Path) -> float:
    result = probed(folder, PING)
    (measured,) = result.measurements
    assert measured.rtt is not None, measured.error
    assert measured.stamps == "kernel"
    return measured.rtt.p50_ns / 1000


def test_the_median_round_trip_is_that_of_a_ping_pong_in_c(joined: None, pingpong: Path, tmp_path: Path) -> None:
    with started(FAR, pingpong, "server", "5300", says="ready"):
        words = inside(NEAR, pingpong, "client", FAR_ADDRESS, "5300", "64", str(RATE_HZ), str(SECONDS))
        ours, floor = [], []
        for _ in range(6):  # a neighbour of the machine doubles either of them: the best of each was alone
            ours.append(p50_us(tmp_path))
            said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            floor.append(int(said.split()[1]) / 1000)
            if abs(min(ours) - min(floor)) < 10:
                return
    raise AssertionError((ours, floor))


def measured(program: Path, folder: Path, test: ProbeTest, **weather: int) -> ProbeMeasurement:
    """Of one test over a wire of that kind."""
    with wires.weather(program, **weather), wires.agent():
        (found,) = probed(folder, test).measurements
    assert found.error is None, found.error
    return found


def p50_ns(times: Times | None) -> int:
    assert times is not None
    return times.p50_ns


def finds_the_delay(wire: Path, folder: Path, test: ProbeTest, delay_us: int) -> None:
    """What a delay adds to the median. A neighbour of the machine lengthens one side or the other: best of at most five."""
    found: dict[int, list[int]] = {0: [], delay_us: []}
    for _ in range(5):
        for us, seen in found.items():
            told = measured(wire, folder, test, delay_us=us)
            seen.append(p50_ns(told.connect if test.type == "TCPConnect" else told.rtt))
        more = min(found[delay_us]) - min(found[0])
        if more == pytest.approx(2000 * delay_us, rel=0.05):  # there and back
            return
    raise AssertionError(found)


def test_a_delay_is_found_within_a_twentieth_by_round_trips_and_by_connections(wire: Path, tmp_path: Path) -> None:
    for delay_us in (250, 2500):
        finds_the_delay(wire, tmp_path, PING, delay_us)
    finds_the_delay(wire, tmp_path, ProbeTest(name="new", type="TCPConnect", duration_seconds=SECONDS), 2500)


def test_loss_is_found_as_often_as_it_happens(wire: Path, tmp_path: Path) -> None:
    """1 % each way, of 8,000 messages: 1.99 % never come back, give or take 0.16 % (one standard deviation)."""
    test = ProbeTest(name="udp", type="UDPLatency", duration_seconds=8, rate_hz=1000)
    counted = measured(wire, tmp_path, test, loss_ppm=10_000).datagrams
    assert counted is not None
    assert counted.sent > 7000
    assert counted.lost / counted.sent == pytest.approx(0.0199, abs=0.0065)
    assert counted.reordered == 0


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
