"""What the pods of a team say to each other, and how their clocks are compared."""

from __future__ import annotations

import socket
from array import array

import pytest

from bench_runner.load.counters import Tick
from bench_runner.load.frames import End
from bench_runner.samples.aggregate import Collected
from bench_runner.team import wire
from bench_runner.team.clocks import Offset, offset_of
from tests.support.builders import MS, a_sample
from tokenmark_decisions.distribution import EXACT


def lines() -> tuple[wire.Line, wire.Line]:
    server = socket.create_server(("127.0.0.1", 0))
    follower = socket.create_connection(server.getsockname())
    leader, _ = server.accept()
    server.close()
    return wire.Line(leader, wire.Told), wire.Line(follower, wire.Command)


def part(samples: int, first_ms: int = 100, ahead_ns: int = 0) -> Collected:
    found = Collected(lanes=2)
    for seq in range(samples):
        sample = a_sample(seq=seq, content_ns=array("q", [(first_ms + k * 10) * MS + ahead_ns for k in range(5)]))
        found.add(sample)
    found.windows.append(End(ahead_ns, 150 * MS + ahead_ns, 0, Tick(at_ns=200 * MS, cpu_ns=MS, load_ended=1)))
    return found


@pytest.mark.parametrize("samples", [3, EXACT + 10], ids=["exact", "histogram"])
def test_what_was_measured_crosses_the_wire_whole(samples: int) -> None:
    found = part(3)
    found.latencies.values["chunk_gap"].extend([0.01] * samples)
    leader, follower = lines()
    try:
        follower.say(wire.Measured(found))
        heard = leader.heard(5.0)
    finally:
        leader.close(), follower.close()
    assert isinstance(heard, wire.Measured)
    same = heard.collected
    assert same.outcomes.due == 3
    assert same.latencies.values["ttft"].ordered() == found.latencies.values["ttft"].ordered()
    assert same.latencies.values["chunk_gap"].exact == (samples == 3)
    assert same.latencies.values["chunk_gap"].mean == pytest.approx(found.latencies.values["chunk_gap"].mean)
    assert same.flow.tokens.packed() == found.flow.tokens.packed()
    assert same.latencies.clusters["itl"].packed() == found.latencies.clusters["itl"].packed()
    assert same.windows == found.windows
    assert (same.flow.begun, same.flow.ended) == (found.flow.begun, found.flow.ended)
    assert same.flow.lane_firsts == found.flow.lane_firsts != {}


def test_parts_that_ran_at_the_same_time_are_one_part() -> None:
    whole = Collected.together([part(3), part(5, ahead_ns=20 * MS)])
    assert whole.outcomes.succeeded == 8
    assert len(whole.flow.begun) == len(whole.flow.ended) == 8
    assert whole.flow.tokens.total == 40
    (window,) = whole.windows
    assert (window.start_ns, window.stop_ns) == (0, 170 * MS)
    assert (window.workers, window.skew_ns, whole.pods) == (2, 20 * MS, 2)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\xff\xff\xff\xff", "above"),
        (wire.PREFIX.pack(3) + b"\xc1ab", "no message"),
        (wire.PREFIX.pack(6) + b"GET / ", "no message"),
        (b"", "closed"),
    ],
)
def test_what_is_no_message_loses_the_line(said: bytes, why: str) -> None:
    leader, follower = lines()
    try:
        follower.sock.sendall(said)
        follower.close()
        with pytest.raises(wire.PeerLost, match=why):
            leader.heard(5.0)
    finally:
        leader.close()


def test_half_a_message_waits_for_its_other_half() -> None:
    leader, follower = lines()
    try:
        follower.say(wire.Hello("run", 1))
        raw = leader.sock.recv(4096)
        for piece in (raw[:2], raw[2:7], raw[7:]):
            follower.sock.sendall(piece)
            heard = leader.heard(0.5 if piece == raw[7:] else 0.0)
        assert heard == wire.Hello("run", 1)
        assert leader.heard() is None
    finally:
        leader.close(), follower.close()


def test_the_fastest_ping_tells_the_offset() -> None:
    now = [0]
    delays = iter([(900, 100), (20, 30), (500, 500)])

    def ask() -> int:
        there, back = next(delays)
        now[0] += there
        theirs = now[0] + 1_000_000
        now[0] += back
        return theirs

    found = offset_of(ask, lambda: now[0], pings=3)
    assert found.uncertainty_ns == 25
    assert abs(found.ahead_ns - 1_000_000) <= found.uncertainty_ns


def test_drift_between_two_measurements_is_uncertainty() -> None:
    assert Offset(1000, 10).later(Offset(1300, 40)) == 340
