"""The worker's parts by themselves: spool, outbox, alarm, cores, stamps, board."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.load import spool as spools
from bench_runner.load import stamps
from bench_runner.load.arrival import WAKE_NS, Arrival
from bench_runner.load.clock import NS
from bench_runner.load.connection import Connection
from bench_runner.load.cores import cores
from bench_runner.load.counters import CounterPage, Tick
from bench_runner.load.drive import may_leave_idle
from bench_runner.load.outbox import IN_MEMORY_BYTES, Outbox
from bench_runner.load.phase import Limits
from bench_runner.load.poll import new_poller
from bench_runner.load.rundelay import RunDelay
from bench_runner.load.spool import Spool
from bench_runner.load.timer import Timer
from tests.support.builders import MS
from tokenmark_schemas.benchmarkrun import BenchmarkRunSpec
from tokenmark_schemas.run import RunIdentity, resolve
from tokenmark_schemas.run_length import stage_drain_s, warmup_drain_s
from tokenmark_schemas.workload import Stage, Warmup


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=30), st.integers(1, 400))
def test_a_spool_gives_back_what_it_got(parts: list[bytes], size: int) -> None:
    spool, out = Spool(), b""
    for i, part in enumerate(parts):
        spool.append(part)
        if i % 3 == 0:
            piece = spool.front(size)
            spool.drop(len(piece))
            out += piece
    while spool.pending:
        piece = spool.front(size)
        assert piece
        spool.drop(len(piece))
        out += piece
    assert out == b"".join(parts)


def test_a_spool_frees_the_disk_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 1000)
    spool = Spool()
    for i in range(100):
        spool.append(bytes([i]) * 500)
    out = b""
    while spool.pending:
        piece = spool.front(700)
        spool.drop(len(piece))
        out += piece
    assert out == b"".join(bytes([i]) * 500 for i in range(100))
    assert not spool._segments


@pytest.mark.parametrize("room", [0, 3 * IN_MEMORY_BYTES, 2**30])
def test_a_parent_that_takes_nothing_gets_everything_in_order_later(room: int) -> None:
    """With little room on disk the load has to wait for the parent at some point: here the parent reads in a thread."""
    ours, parent = socket.socketpair()
    box = Outbox(ours, new_poller(), room)
    sent = b"".join(i.to_bytes(4, "big") for i in range(500_000))
    got = bytearray()

    def read() -> None:
        while len(got) < len(sent):
            got.extend(parent.recv(2**16))

    reader = threading.Thread(target=read)
    if room < 2**30:
        reader.start()
    for at in range(0, len(sent), 100_000):
        box.data += sent[at : at + 100_000]
        box.flush()
    if room == 2**30:
        assert len(box.data) <= IN_MEMORY_BYTES
        assert box.backlog_bytes > 1_000_000
        reader.start()
    box.drain()
    reader.join(20)
    ours.close()
    parent.close()
    assert bytes(got) == sent


def test_an_alarm_rings_within_the_millisecond_that_epoll_rounds_to() -> None:
    alarm = Timer()
    if alarm.fd < 0:
        pytest.skip("no timerfd here")
    late = []
    for _ in range(20):
        due = time.monotonic_ns() + 1_300_000
        assert alarm.set(due)
        select.select([alarm.fd], [], [], 1.0)
        late.append(time.monotonic_ns() - due)
        alarm.rang()
    alarm.close()
    assert all(at >= 0 for at in late)
    assert min(late) < 500_000


@pytest.mark.parametrize(
    ("files", "want"),
    [
        pytest.param({"cpu.max": "150000 100000\n"}, 1.5, id="version 2"),
        pytest.param({"cpu.max": "max 100000\n"}, float("inf"), id="version 2 without a limit"),
        pytest.param({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5, id="version 1"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf"), id="version 1 without"),
        pytest.param({}, float("inf"), id="no cgroup"),
    ],
)  # fmt: skip
def test_a_quota_counts_as_the_cores_it_is(tmp_path: Path, files: dict[str, str], want: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == min(want, len(os.sched_getaffinity(0)))


def test_a_stepped_clock_is_not_trusted_for_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, step = stamps.ClockOffset(), [0]
    real = time.time_ns
    monkeypatch.setattr(stamps.time, "time_ns", lambda: real() + step[0])
    clock.refresh()
    clock.refresh()
    assert clock.trusted
    step[0] = 5_000_000
    clock.refresh()
    assert (clock.trusted, clock.steps) == (False, 1)
    clock.refresh()
    assert clock.trusted


def test_a_board_is_read_as_it_was_written() -> None:
    board, tick = CounterPage(), Tick(*range(1, 17))
    board.write(tick)
    assert board.read() == tick


HEAD, PING = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\n:\n\n\r\n"
PROXY_HEAD = b'HTTP/1.1 200 OK\r\nReport-To: {"group":"x"}\r\n\r\n'
EVENT = b'd\r\ndata: {"a":1}\n\n\r\n'

# --- what a connection waits for ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reads", "waited_s", "want"),
    [
        pytest.param([], 61, None, id="before the first token, silence is waiting"),
        pytest.param([], 121, "first_token_timeout", id="which has its own limit"),
        pytest.param([HEAD], 61, None, id="a head alone is no token"),
        pytest.param([HEAD, PING, PING], 61, None, id="nor is what keeps a line alive"),
        pytest.param([PROXY_HEAD, PING, PING], 61, None, id="whatever stands in a head"),
        pytest.param(
            [HEAD + EVENT, 15, PING, 30, PING], 61, None, id="whose turn it is may be said before a prompt is read"
        ),
        pytest.param(
            [HEAD + EVENT, 15, PING, 30, PING], 121, "first_token_timeout", id="for as long as a first token may take"
        ),
        pytest.param([HEAD + EVENT, EVENT], 61, "idle_timeout", id="an event may come with its head"),
        pytest.param([HEAD, PING, PING], 121, "first_token_timeout", id="which is waited for no longer for it"),
        pytest.param([HEAD, EVENT, EVENT], 61, "idle_timeout", id="inside an answer it is silence"),
        pytest.param([HEAD, EVENT, 50, PING], 61, "idle_timeout", id="which a comment does not break"),
        pytest.param([HEAD, EVENT, 50, EVENT], 61, None, id="and an event does"),
        pytest.param([HEAD, EVENT, EVENT], 601, "request_timeout", id="and nothing takes longer than a request may"),
    ],
)
@pytest.mark.parametrize("handed_over", [False, True])
def test_a_limit_is_named_by_what_was_waited_for(
    reads: list[bytes | int], waited_s: int, want: str | None, handed_over: bool
) -> None:
    """A number among the reads: so many seconds after the request's beginning the rest comes."""
    ours, theirs = socket.socketpair()
    conn = Connection(ours)
    conn.ready = conn.touched = 1_000
    conn.begin(b"")
    at = 1_000
    for read in reads:
        if isinstance(read, int):
            at = 1_000 + read * NS
        else:
            conn.log += [at, at, at, read]
    if handed_over:
        conn.take_log(keep=False)
    limits = Limits(request_ns=600 * NS, first_token_ns=120 * NS, idle_ns=60 * NS, drain_ns=NS)
    assert conn.overdue(1_000 + waited_s * NS, limits) == want
    ours.close()
    theirs.close()


@pytest.mark.parametrize(("effective", "may"), [("0000000000800000", True), ("0000000000000000", False)])
def test_idle_scheduling_is_entered_only_where_it_can_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effective: str, may: bool
) -> None:
    """Without the right to come back, every worker that is forked later would run as idle work too."""
    (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t{effective}\n")
    monkeypatch.setattr("bench_runner.load.drive.resource.getrlimit", lambda _: (0, 0))
    assert may_leave_idle(tmp_path / "status") is may
    monkeypatch.setattr("bench_runner.load.drive.resource.getrlimit", lambda _: (40, 40))
    assert may_leave_idle(tmp_path / "none")


class Waited:
    """A run delay as told."""

    def __init__(self, *readings: int) -> None:
        self._readings, self.told = iter(readings), True

    def read(self) -> int:
        return next(self._readings)


def test_what_a_poll_finds_came_after_the_poll_before_it() -> None:
    arrival = Arrival(0, Waited(0, 0, 0))  # type: ignore[arg-type]
    assert arrival.since(1 * MS, 1 * MS + 50_000) == 0, "it did not sleep: all that is known is the poll before"
    assert arrival.since(2 * MS, 2 * MS + 20_000) == 1 * MS, "which was called then, and found the rest empty"


def test_a_poll_that_slept_was_woken_by_the_first_arrival() -> None:
    arrival = Arrival(0, Waited(0, 0, 3 * MS, 3 * MS))  # type: ignore[arg-type]
    assert arrival.since(1 * MS, 9 * MS) == 9 * MS - WAKE_NS
    assert arrival.since(10 * MS, 19 * MS) == 16 * MS - WAKE_NS, "it waited 3 ms for a processor after it was woken"
    assert arrival.since(20 * MS, 20 * MS) == 16 * MS - WAKE_NS, "and may have lost it before it looked"


def test_a_poll_that_was_stopped_says_nothing_new() -> None:
    arrival = Arrival(0, Waited(0, 0, 0))  # type: ignore[arg-type]
    arrival.since(1 * MS, 1 * MS)
    assert arrival.since(2 * MS, 300 * MS, plain=False) == 1 * MS


def test_where_nobody_counts_the_wait_sleep_began_before_the_arrival() -> None:
    delay = Waited(0)
    delay.told = False
    arrival = Arrival(0, delay)  # type: ignore[arg-type]
    assert arrival.since(1 * MS, 9 * MS) == 1 * MS
    assert arrival.since(10 * MS, 10 * MS) == 1 * MS


def test_the_kernel_counts_how_long_this_thread_waited() -> None:
    delay = RunDelay()
    if not delay.told:
        pytest.skip("no schedstat here")
    assert delay.read() <= delay.read()


def test_a_deadline_leaves_slow_prompts_the_time_that_the_target_gives_them() -> None:
    """Eight answers one after the other that each use up what they may."""

    def deadline(**target: int) -> int:
        work = {"dataset": {"prompts": ["hello"]}, "maxOutputTokens": 8}
        said = {
            "target": {"engine": "vllm", "model": "m", "endpoint": {"url": "http://x"}, **target},
            "workload": work,
            "warmup": {"requestCount": 2},
        }
        stages = [{"name": "c1", "concurrency": 1, "requestCount": 8}]
        spec = BenchmarkRunSpec.model_validate({**said, "stages": stages, "repetitions": 1})
        return resolve(spec, RunIdentity(name="t"), url="http://x", workload=None).deadline_s

    assert deadline(firstTokenTimeoutSeconds=600, requestTimeoutSeconds=1200) > 10 * 600 + 2 * 1200
    assert deadline(firstTokenTimeoutSeconds=5, requestTimeoutSeconds=10) < 10 * 10 + 2 * 30 + 200


def test_a_phase_waits_for_its_last_answers_by_what_ends_it() -> None:
    counted = Stage(name="a", concurrency=1, request_count=8)
    timed = Stage(name="a", concurrency=1, request_count=8, duration_seconds=60)
    assert [stage_drain_s(stage, 600) for stage in (counted, timed)] == [600, 30]
    assert stage_drain_s(counted, 5) == 30, "what waits for a connection has its time too"
    assert [warmup_drain_s(Warmup(request_count=count), 600) for count in (1, 0)] == [600, 30]
