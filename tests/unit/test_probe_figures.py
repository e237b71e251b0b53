"""What counts as a figure, what repetitions say of it, and when it is no figure of the network."""

from __future__ import annotations

import json
import random

import pytest

from netprobe.measure.iperf3 import NoFigure, iperf3_command, parse_iperf3
from netprobe.measure.times import Durations, paced
from tests.support.probes import a_measurement, a_probe_result, times
from tokenmark_decisions.probe_pair import unmeasured, verdict_of, verdict_of_all
from tokenmark_decisions.repetitions import repeated
from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import Datagrams, Flow, Throughput

TEST = ProbeTest(name="bw", type="Throughput", parallel_streams=2)


def test_the_receivers_rate_is_the_figure() -> None:
    end = {
        "sum_received": {"bits_per_second": 9.4e9}, "sum_sent": {"bits_per_second": 9.9e9, "retransmits": 3},
        "streams": [{"sender": {"mean_rtt": 120}}, {"sender": {"mean_rtt": 80}}], "sender_tcp_congestion": "cubic",
    }  # fmt: skip
    figure = parse_iperf3(json.dumps({"start": {"tcp_mss_default": 1448}, "end": end}), TEST)
    assert figure.forward == Flow(bits_per_second=9_400_000_000, retransmits=3)
    assert (figure.streams, figure.mss_bytes, figure.congestion_control, figure.tcp_rtt_ns) == (
        2,
        1448,
        "cubic",
        100_000,
    )


def test_both_directions_have_a_figure_each() -> None:
    end = {
        "sum_received": {"bits_per_second": 8e9}, "sum_sent": {"retransmits": 1},
        "sum_received_bidir_reverse": {"bits_per_second": 7e9}, "sum_sent_bidir_reverse": {"retransmits": 2},
    }  # fmt: skip
    both = parse_iperf3(json.dumps({"end": end}), TEST.model_copy(update={"direction": "Bidirectional"}))
    assert (both.forward, both.reverse) == (Flow(bits_per_second=8_000_000_000, retransmits=1), Flow(bits_per_second=7_000_000_000, retransmits=2))  # fmt: skip
    back = parse_iperf3(json.dumps({"end": end}), TEST.model_copy(update={"direction": "Reverse"}))
    assert (back.forward, back.reverse) == (None, Flow(bits_per_second=8_000_000_000, retransmits=1))
    del end["sum_received_bidir_reverse"]
    with pytest.raises(NoFigure, match="nothing arrived"):
        parse_iperf3(json.dumps({"end": end}), TEST.model_copy(update={"direction": "Bidirectional"}))


def test_udp_tells_loss_and_jitter() -> None:
    received = {"bits_per_second": 1e8, "packets": 1000, "lost_packets": 25, "jitter_ms": 0.012}
    flow = parse_iperf3(json.dumps({"end": {"sum_received": received}}), TEST).forward
    assert flow == Flow(bits_per_second=100_000_000, packets=1000, lost_packets=25, jitter_ns=12_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing at all"),
        ("iperf3: command not found", "no JSON"),
        ("[]", "no object"),
        ('{"error": "the server is busy running a test"}', "busy"),
        ('{"start": {}, "end": {}}', "nothing arrived"),
        ('{"end": {"sum_received": {"bits_per_second": 0}}}', "nothing arrived"),
    ],
)
def test_what_is_no_figure_is_said(text: str, said: str) -> None:
    with pytest.raises(NoFigure, match=said):
        parse_iperf3(text, TEST)


def test_every_field_of_a_throughput_test_reaches_iperf3() -> None:
    test = ProbeTest(
        name="bw", type="Throughput", protocol="UDP", bitrate="100M", direction="Bidirectional", parallel_streams=3, duration_seconds=20,
        omit_seconds=4, block_bytes=1400, window_bytes=65_536, mss_bytes=1200, congestion_control="bbr",
    )  # fmt: skip
    text = " ".join(iperf3_command(test, "10.0.0.1", 5201))
    for words in ("--client 10.0.0.1", "--time 20", "--omit 4", "--parallel 3", "--len 1400", "--udp", "--bidir", "--bitrate 100M", "--window 65536", "--set-mss 1200", "--congestion bbr"):  # fmt: skip
        assert words in text


# --- repetitions ------------------------------------------------------------------------------------------------------


def test_fewer_than_six_repetitions_have_no_interval() -> None:
    assert (repeated([1, 2, 3]).low, repeated([1, 2, 3]).high) == (None, None)
    six = repeated([3, 1, 2, 6, 5, 4])
    assert (six.value, six.low, six.high, six.count) == (3.5, 1, 6, 6)
    assert repeated([10, 20]).spread == pytest.approx(10 / 15)


@pytest.mark.parametrize("count", [6, 9, 20])
def test_the_interval_covers_the_median_as_often_as_it_says(count: int) -> None:
    rng, covered = random.Random(count), 0
    for _ in range(2000):
        said = repeated([rng.expovariate(1) for _ in range(count)])
        assert said.low is not None
        assert said.high is not None
        covered += said.low <= 0.6931 <= said.high
    assert covered >= 0.94 * 2000


def test_durations_are_the_same_exact_and_in_a_histogram() -> None:
    few, many = Durations(), Durations()
    rng = random.Random(1)
    values = [round(rng.lognormvariate(11, 0.3)) for _ in range(200_000)]
    for value in values:
        many.add(value)
    for value in values[:400]:
        few.add(value)
    exact, held = few.times(), many.times()
    assert exact is not None
    assert held is not None
    assert exact.p99_ns is None, "withheld below 500 values"
    assert held.p50_ns == pytest.approx(sorted(values)[100_000], rel=2e-3)
    assert (held.min_ns, held.max_ns, held.count) == (min(values), max(values), 200_000)
    assert Durations().times() is None


def test_a_pace_leaves_out_what_it_missed() -> None:
    due = [at for number, at in enumerate(paced(0.2, 100)) if number != 3 or not _slow()]
    assert 10 <= len(due) <= 18, "the pause of 60 ms cost its ticks, and no burst made up for them"


def _slow() -> bool:
    import time

    time.sleep(0.06)
    return False


# --- the verdict ------------------------------------------------------------------------------------------------------


def flow(cpu: float = 50.0, streams: int = 1, rate: int = 10**9, **more: object) -> Throughput:
    known = {"forward": Flow(bits_per_second=rate), "client_cpu_percent": cpu, "server_cpu_percent": 20.0, "streams": streams, "protocol": "TCP"}  # fmt: skip
    return Throughput.model_validate({**known, **more})


def reasons(*measurements: object) -> list[tuple[str, str]]:
    result = a_probe_result(measurements=list(measurements))  # type: ignore[arg-type]
    return [(r.reason, r.verdict) for r in result.verdict.reasons]


def test_a_quiet_pair_is_valid() -> None:
    assert reasons(*[a_measurement(repetition=i, rtt=times()) for i in range(6)]) == []


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([a_measurement("bw", i, throughput=flow(cpu=97), seconds=10) for i in range(6)], ("ClientSaturated", "invalid")),
        ([a_measurement("bw", i, throughput=flow(server_cpu_percent=99.0), seconds=10) for i in range(6)], ("ServerSaturated", "invalid")),
        ([a_measurement(repetition=i, rtt=times(60_000 * (1 + i))) for i in range(6)], ("Unstable", "degraded")),
        ([a_measurement("udp", i, rtt=times(), datagrams=Datagrams(sent=1000, lost=30, reordered=0, jitter_ns=5)) for i in range(6)], ("Lossy", "degraded")),
        ([a_measurement(repetition=i, rtt=times(count=40)) for i in range(6)], ("TooShort", "degraded")),
        ([a_measurement("bw", i, throughput=flow(), seconds=2) for i in range(6)], ("TooShort", "degraded")),
        ([a_measurement(repetition=i, rtt=times()) for i in range(5)] + [a_measurement(repetition=5, error="timed out")], ("Incomplete", "degraded")),
    ],
)  # fmt: skip
def test_what_is_no_figure_of_the_network_is_told(measured: list[object], expected: tuple[str, str]) -> None:
    assert reasons(*measured) == [expected]


def test_what_was_not_measured_at_all_is_no_valid_result() -> None:
    cut = a_probe_result().model_copy(update={"tests": ["rtt", "bw"], "repetitions": 8, "interrupted": True})
    said = [(r.reason, r.verdict, r.message) for r in verdict_of(cut).reasons]
    assert said == [
        ("Incomplete", "degraded", "rtt: 2 of 8 repetitions are missing: it was interrupted"),
        ("Incomplete", "invalid", "bw: no repetition of it has a figure"),
    ]
    assert unmeasured(cut) == "bw: it was not measured"


def test_loss_is_that_of_either_direction() -> None:
    lossy = Flow(bits_per_second=10**8, packets=1000, lost_packets=500, jitter_ns=9)
    back = [
        a_measurement("u", i, throughput=flow(forward=None, reverse=lossy, protocol="UDP"), seconds=10)
        for i in range(6)
    ]
    result = a_probe_result(measurements=back)
    assert [r.reason for r in result.verdict.reasons] == ["Lossy"]
    assert {s.metric: s.value for s in result.statistics}["loss"] == 500_000


def test_times_of_the_lucky_ones_are_told() -> None:
    refused = [a_measurement("c", i, connect=times(), failures={"timed out": 500}) for i in range(6)]
    unavailable = [
        a_measurement("p", i, connect=times(), first_byte=times(), failures={"http 503": 1000}) for i in range(6)
    ]
    assert reasons(*refused, *unavailable) == [("Failing", "degraded")] * 2
    few = [a_measurement("c", i, connect=times(), failures={"timed out": 5}) for i in range(6)]
    assert reasons(*few) == []


@pytest.mark.parametrize(
    ("version", "both", "cpu", "expected"),
    [("3.18", False, 97, True), ("3.18", True, 97, False), ("3.18", True, 190, True), ("3.12", True, 97, True)],
)
def test_iperf3_has_a_thread_a_stream_and_direction_since_3_16(
    version: str, both: bool, cpu: float, expected: bool
) -> None:
    ways = {"reverse": Flow(bits_per_second=10**9)} if both else {}
    many = [a_measurement("bw", i, throughput=flow(cpu=cpu, **ways), seconds=10) for i in range(6)]
    result = a_probe_result(measurements=many)
    known = result.model_copy(update={"client": result.client.model_copy(update={"iperf3_version": version})})
    assert ("ClientSaturated" in [r.reason for r in verdict_of(known).reasons]) is expected


def test_four_streams_may_use_four_cores() -> None:
    assert reasons(*[a_measurement("bw", i, throughput=flow(cpu=220, streams=4), seconds=10) for i in range(6)]) == []


def test_the_floor_condemns_no_probe_and_a_floor_alone_says_so() -> None:
    floor = a_probe_result(
        target_node="node1", measurements=[a_measurement(repetition=i, rtt=times(count=3)) for i in range(6)]
    )
    assert verdict_of_all([floor, a_probe_result()]).verdict == "valid"
    alone = verdict_of_all([floor])
    assert [r.reason for r in alone.reasons] == ["SameNodeOnly"]
