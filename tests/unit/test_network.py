"""What the network explains: a probe's figures as a way, the arithmetic of shares, and a run that waits for its probe."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest

from bench_runner.analysis.network import network_facts
from bench_runner.load.resending import Resending
from netprobe.measure.tcp_ping import _stalled
from tests.support.builders import MS, NOW, a_run
from tests.support.probes import a_measurement, a_node, a_probe, a_probe_result, times
from tests.support.results import a_stage
from tests.support.runs import conditions, facts, kinds, with_status
from tokenmark_decisions.network_path import before_a_run, network_of, way_of
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_operator.plan.netprobe_pairs import choose_visits
from tokenmark_operator.shared.facts import Decision
from tokenmark_schemas.netprobe import NetProbe, ProbeTest
from tokenmark_schemas.network import NetworkPath, PathRate, PathTimes, PathUpload, RunNetwork
from tokenmark_schemas.probe_result import EastWest, Flow, ProbeMeasurement, Stalled, Throughput
from tokenmark_schemas.result import StageResult, Traffic
from tokenmark_schemas.run import service_in, vantage_in_cluster

URL = "http://sim.bench.svc:8000"


# --- from a probe to a way --------------------------------------------------------------------------------------------


def rtt(repetition: int, mean_ns: int = 60_000, **more: Any) -> ProbeMeasurement:
    return a_measurement(repetition=repetition, rtt=times(60_000).model_copy(update={"mean_ns": mean_ns}), **more)


def way(*measurements: ProbeMeasurement, tests: tuple[ProbeTest, ...] = ()) -> NetworkPath:
    (found,) = network_of("ew", [a_probe_result(measurements=list(measurements))], tests, URL).paths
    return found


def test_the_mean_round_trip_has_an_interval_over_the_repetitions() -> None:
    """Student's t of three values 50, 60, 70: 60 ± 4.303 · 10 / √3."""
    found = way(*[rtt(i, mean) for i, mean in enumerate((50_000, 60_000, 70_000))]).rtt
    assert found is not None
    assert found.mean_ns == 60_000
    assert found.high_ns == pytest.approx(60_000 + 4.303 * 10_000 / 3**0.5, abs=1)
    assert way(rtt(0), rtt(1)).rtt == PathTimes(
        count=2000, p50_ns=60_000, p99_ns=90_000, mean_ns=60_000, low_ns=None, high_ns=None
    )


def test_trips_that_waited_for_a_retransmission_are_no_part_of_the_way() -> None:
    """1,000 trips of 60 µs in the mean would be 4 ms with twenty that took 200 ms."""
    mean = (980 * 60_000 + 20 * 200 * MS) // 1000
    found = way(*[rtt(i, mean, stalled=Stalled(count=20, total_ns=20 * 200 * MS)) for i in range(3)]).rtt
    assert found is not None
    assert found.mean_ns == pytest.approx(60_000, abs=2)


def test_a_stall_is_a_trip_that_took_the_shortest_timeout() -> None:
    assert _stalled([20 * MS, 190 * MS, 410 * MS], [408 * MS, 204 * MS], 5) == Stalled(count=2, total_ns=600 * MS)
    assert _stalled([150 * MS, 260 * MS, 1100 * MS], [3000 * MS], 100 * MS) == Stalled(count=1, total_ns=1100 * MS)
    assert _stalled([60 * MS], [40 * MS], 5) == Stalled(count=1, total_ns=60 * MS), (
        "a timeout that somebody made shorter"
    )
    assert _stalled([], [], 0) is None


def test_of_targets_only_the_runs_own_counts() -> None:
    test = {"type": "TCPConnect", "target": {"host": "sim.bench.svc", "port": 8000}}
    other = {"type": "TCPConnect", "target": {"host": "else.where", "port": 443}}
    tests = [ProbeTest.model_validate({"name": n, **t}) for n, t in (("mine", test), ("other", other))]
    measured = [
        a_measurement(name, 0, type="TCPConnect", path="PodToTarget", connect=times(ns))
        for name, ns in (("mine", 2 * MS), ("other", 9 * MS))
    ]
    found = way(*measured, tests=tuple(tests))
    assert found.connect is not None
    assert (found.path, found.connect.mean_ns, found.rtt) == ("PodToTarget", 2 * MS, None)
    assert network_of("ew", [a_probe_result(measurements=measured)], tests[1:], URL).missing


def test_what_larger_messages_took_longer_is_kept_by_size() -> None:
    """30 µs more with a small answer; half of 40 µs where the answer is as large."""
    tests = [
        ProbeTest(name="rtt", type="TCPLatency"),
        ProbeTest(name="up", type="TCPLatency", message_bytes=8192, reply_bytes=64),
        ProbeTest(name="both", type="TCPLatency", message_bytes=20_000),
    ]
    measured = [
        rtt(i, mean, test=name) for i in range(3) for name, mean in (("up", 90_000), ("rtt", 60_000), ("both", 100_000))
    ]
    found = way(*measured, tests=tuple(tests))
    assert found.rtt is not None
    assert found.rtt.mean_ns == 60_000
    assert [(u.message_bytes, u.mean_ns, u.low_ns, u.high_ns) for u in found.uploads] == [
        (8192, 30_000, 30_000, 30_000), (20_000, 20_000, 20_000, 20_000)]  # fmt: skip


def test_a_mesh_that_kept_no_repetitions_still_tells_its_ways() -> None:
    whole = a_probe_result()
    (lean,) = network_of("ew", [whole.model_copy(update={"measurements": []})], [], URL).paths
    assert lean.rtt is not None
    assert (lean.rtt.mean_ns, lean.rtt.p99_ns) == (60_000, 90_000)


def test_a_flow_that_a_processor_limits_makes_no_way_invalid() -> None:
    flow = Throughput(
        forward=Flow(bits_per_second=10**9), client_cpu_percent=99.0, server_cpu_percent=50.0, streams=1, protocol="TCP"
    )
    found = way(*[a_measurement("bw", i, type="Throughput", throughput=flow) for i in range(6)], *map(rtt, range(6)))
    assert found.verdict == "degraded"
    assert "its processor is the limit" in found.reasons[0]


def test_an_agent_is_asked_beside_the_target_and_without_one_its_connections() -> None:
    assert [t.type for t in before_a_run("node2", URL)] == [
        "TCPLatency",
        "TCPConnect",
        "Throughput",
        *["TCPLatency"] * 3,
    ]
    (alone,) = before_a_run(None, "https://api.example.com/v1")
    assert alone.target is not None
    assert (alone.target.host, alone.target.port) == ("api.example.com", 443)


# --- which way --------------------------------------------------------------------------------------------------------


def a_way(source: str = "a", target: str | None = "b", mean_ns: int = 5 * MS, **more: Any) -> NetworkPath:
    trip = PathTimes(
        count=1000, p50_ns=mean_ns, p99_ns=mean_ns + MS, mean_ns=mean_ns, low_ns=mean_ns - 1000, high_ns=mean_ns + 1000
    )
    return NetworkPath(**{
        "source_node": source, "target_node": target, "path": "PodToPod", "measured_at": "2030-01-01T00:00:00Z", "rtt": trip,
        "connect": None, "forward": None, "reverse": None, "verdict": "valid", **more,
    })  # fmt: skip


def known(*paths: NetworkPath, to: tuple[str, ...] = ("b",)) -> RunNetwork:
    return RunNetwork(probe="ew", paths=list(paths), target_nodes=list(to))


@pytest.mark.parametrize(
    ("node", "expected"),
    [("a", (("a", "b"), False)), ("c", (("b", "c"), True)), ("b", (("a", "a"), False)), ("d", (None, False))],
    ids=["ahead", "backwards", "the floor of another node", "none"],
)
def test_the_way_is_the_one_between_the_load_and_the_target(node: str, expected: tuple[Any, bool]) -> None:
    found, turned = way_of(known(a_way("a", "a"), a_way("a", "c"), a_way(), a_way("b", "c")), node)
    assert ((found[0].source_node, found[0].target_node) if found else None, turned) == expected


def test_a_probe_that_went_the_other_way_has_its_rates_turned() -> None:
    rates = {
        "forward": PathRate(bits_per_second=1, low=None, high=None),
        "reverse": PathRate(bits_per_second=10**9, low=None, high=None),
    }
    found = network_facts(known(a_way("b", "c", **rates)), [a_stage()], "c")
    assert found is not None
    assert (found.source_node, found.target_node, found.reversed, found.throughput_bits_per_s) == (
        "c",
        "b",
        True,
        10**9,
    )


def test_a_node_that_was_not_probed_is_said_to_be_unknown() -> None:
    found = network_facts(known(a_way()), [a_stage()], "elsewhere")
    assert found is not None
    assert found.missing == "ew measured no pair of elsewhere and b"
    assert not found.shares
    assert network_facts(None, [a_stage()], "a") is None


# --- the arithmetic: a stage of 200 answers, TTFT 100 ms less a microsecond, TPOT 10 ms, five tokens --------------------


def stage(
    sent_bytes: int = 200 * 1000, stalled: int = 0, stalled_s: float = 0.0, received_bytes: int = 200 * 1500
) -> StageResult:
    traffic = Traffic(sent_bytes=sent_bytes, received_bytes=received_bytes, stalled=stalled, stalled_s=stalled_s)
    return a_stage().model_copy(update={"traffic": traffic})


def shares(path: NetworkPath, of: StageResult) -> dict[str, Any]:
    found = network_facts(known(path), [of], "a")
    assert found is not None
    return {share.metric: share for share in found.shares}


def rate(megabits: int) -> PathRate:
    return PathRate(bits_per_second=megabits * 10**6, low=megabits * 9 * 10**5, high=megabits * 11 * 10**5)


def test_ttft_pays_a_round_trip_and_the_bytes_of_the_request() -> None:
    """5 ms, and 1,000 bytes at 10 Mbit/s: 0.8 ms."""
    ttft = shares(a_way(forward=rate(10)), stage())["ttft"]
    assert ttft.network_s == pytest.approx(0.0058)
    assert ttft.ratio == pytest.approx(0.0058 / 0.099999, rel=1e-6)
    assert ttft.low_s == pytest.approx(0.004999), "a burst may pass at once"
    assert [term.name for term in ttft.terms] == ["round_trip", "request", "queue"]
    assert ttft.terms[1].how.startswith("1,000 bytes / 10.0 Mbit/s")
    assert not ttft.at_least


@pytest.mark.parametrize(("size", "expected_s"), [(1000, 0.0005), (3000, 0.002), (9000, 0.008)])
def test_a_request_takes_what_messages_of_such_sizes_took(size: int, expected_s: float) -> None:
    """2,000 bytes took 1 ms more, 4,000 3 ms; beyond them it goes on as steeply, and a rate of 10 Mbit/s is not asked."""
    uploads = [
        PathUpload(message_bytes=b, mean_ns=ms * MS, low_ns=ms * MS, high_ns=ms * MS)
        for b, ms in ((2000, 1), (4000, 3))
    ]
    found = shares(a_way(uploads=uploads, forward=rate(10)), stage(200 * size))["ttft"].terms
    assert [term.name for term in found] == ["round_trip", "request", "queue"]
    assert found[1].value_s == pytest.approx(expected_s)


def test_a_large_request_may_need_further_round_trips() -> None:
    """40,000 bytes are 28 segments: ten, twenty, that is one round trip more at most."""
    term = next(t for t in shares(a_way(), stage(200 * 40_000))["ttft"].terms if t.name == "window")
    assert (term.low_s, term.value_s, term.high_s) == (0.0, 0.0025, 0.005)


def test_lost_requests_cost_what_the_runs_own_connections_waited() -> None:
    """Two of 200 waited 0.2 s each; two first tokens waited for the token behind them (10 ms) and a round trip (5 ms). Timers are 6 ms late."""
    found = shares(a_way(), stage(stalled=2, stalled_s=0.4))
    (loss,) = [t for t in found["ttft"].terms if t.name == "loss"]
    assert loss.value_s == pytest.approx((0.4 + 2 * 0.006 + 2 * 0.015) / 200)
    assert "2 of 200 requests were sent again after 200 ms" in loss.how
    assert found["tpot"].network_s == 0.0
    assert found["tpot"].high_s > 0


def test_tpot_does_not_feel_a_delay_that_is_always_the_same() -> None:
    tpot = shares(a_way(), stage())["tpot"]
    assert (tpot.network_s, tpot.low_s) == (0.0, 0.0)
    assert tpot.high_s == pytest.approx(0.001 / 4)  # p99 − p50 over the four gaps of five tokens


def test_a_way_that_the_run_fills_is_a_lower_bound_and_paces_the_tokens_itself() -> None:
    """200 answers in 30 s: 2 MB of requests are 0.53 Mbit/s, as many of answers."""
    found = shares(a_way(forward=rate(1), reverse=rate(1)), stage(200 * 10_000, received_bytes=200 * 10_000))
    assert found["ttft"].at_least
    assert "fills 53 %" in found["ttft"].note
    assert found["tpot"].network_s is None
    assert "53 %" in found["tpot"].note


def test_a_way_that_is_longer_than_ttft_is_not_this_runs() -> None:
    ttft = shares(a_way(mean_ns=200 * MS), stage())["ttft"]
    assert ttft.network_s is None
    assert "not the way of this run" in ttft.note


def test_several_nodes_behind_a_target_are_met_alike() -> None:
    several = known(a_way("a", "b", 2 * MS), a_way("a", "c", 4 * MS), to=("b", "c"))
    found = network_facts(several, [stage()], "a")
    assert found is not None
    assert found.target_node == "b, c"
    assert found.shares[0].network_s == pytest.approx(0.003)
    assert found.shares[0].low_s == pytest.approx(0.001999)
    assert found.shares[0].high_s == pytest.approx(0.004001)


def test_a_connection_that_lost_nothing_never_stalled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        resending = Resending()
        resending.note(sock)
        sock.sendall(b"x")
        assert resending.stalled_ns(sock) == 0


# --- a run that waits for its probe -----------------------------------------------------------------------------------

HERE, THERE = a_node("node1"), a_node("node2", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
MEASURE = {"network": {"measure": True, "repetitions": 3}}


def step(run: dict[str, Any], **more: Any) -> Decision:
    return decide(facts(run, **{"target_nodes": frozenset({"node2"}), "nodes": [HERE, THERE], **more}))


def a_finished_probe(name: str, *, owner: str = "uid-demo") -> dict[str, Any]:
    probe = a_probe(name)
    probe["metadata"]["ownerReferences"] = [{"kind": "BenchmarkRun", "name": "demo", "uid": owner}]
    said = [{"type": "Finished", "status": "True"}, {"type": "Succeeded", "status": "True", "message": "2 visits"}]
    return {**probe, "status": {"conditions": said}}


def found_by(*measurements: ProbeMeasurement) -> EastWest:
    pair = a_probe_result(measurements=list(measurements) or [rtt(i) for i in range(6)])
    return EastWest(
        probe="demo-network", created_at="2030-01-01T00:00:00Z", environment={}, tests=[], measured=1, pairs_of=1, chosen="",
        verdict=pair.verdict, pairs=[pair],
    )  # fmt: skip


def test_a_run_has_its_way_probed_before_it_loads_anything() -> None:
    decision = step(a_run(**MEASURE))
    assert kinds(decision) == ["NetProbe"]
    assert conditions(decision)["Admitted"] == ("False", "WaitingForNetProbe")
    assert "attempts" not in decision.status
    (probe,) = decision.create
    placement = probe["spec"]["placement"]
    assert (placement["sourceNode"], placement["targetNodes"]) == ("node1", ["node2"])
    assert placement["tolerations"] == [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]
    assert probe["metadata"]["ownerReferences"][0]["uid"] == "uid-demo"
    parsed = NetProbe.model_validate({**probe, "metadata": {**probe["metadata"], "namespace": "bench"}})
    visits = choose_visits(parsed.spec, [HERE, THERE]).visits
    assert [(v.source_node, v.target_node) for v in visits] == [("node1", "node2")]


def test_while_its_probe_measures_a_run_stands_by_and_says_so() -> None:
    decision = step(a_run(**MEASURE), net_probe={**a_finished_probe("demo-network"), "status": {}})
    assert not decision.create
    assert "NetProbe demo-network measures the network first" in decision.status["conditions"][1]["message"]


def test_the_runner_goes_where_the_way_was_measured_and_is_told_of_it() -> None:
    decision = step(a_run(**MEASURE), net_probe=a_finished_probe("demo-network"), net_found=found_by())
    assert kinds(decision) == ["ConfigMap", "Job"]
    affinity = decision.create[1]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]["matchFields"][0][
        "values"
    ] == ["node1"]
    assert '"mean_ns": 60000' in decision.create[0]["data"]["config.json"]


def test_a_run_whose_way_cannot_be_measured_goes_on_and_says_why() -> None:
    for more, why in (
        ({"nodes": None}, "may not list nodes"),
        ({"nodes": [a_node("node1", unschedulable=True)]}, "no Ready node"),
        ({"net_probe": a_finished_probe("demo-network")}, "has no result: 2 visits"),
    ):
        decision = step(a_run(**MEASURE), **more)
        assert kinds(decision) == ["ConfigMap", "Job"]
        assert why in decision.create[0]["data"]["config.json"]
        assert any(event.reason == "NetworkUnknown" and why in event.message for event in decision.events)


def test_a_probe_of_somebody_else_is_not_taken_for_the_runs_own() -> None:
    decision = step(a_run(**MEASURE), net_probe=a_finished_probe("demo-network", owner="somebody"))
    assert conditions(decision)["Succeeded"] == ("False", "NameConflict")


def test_a_probe_that_was_named_is_waited_for_and_then_said_to_be_missing() -> None:
    run = a_run(netProbeRef={"name": "east-west"})
    waiting = step(run)
    assert conditions(waiting)["Admitted"] == ("False", "WaitingForNetProbe")
    late = step(with_status(run, waiting), now=NOW + timedelta(hours=1))
    assert conditions(late)["Succeeded"] == ("False", "NetProbeNotFound")


def test_a_named_probe_binds_the_runner_to_no_node() -> None:
    named = a_finished_probe("east-west", owner="")
    decision = step(a_run(netProbeRef={"name": "east-west"}), net_probe=named, net_found=found_by())
    assert "affinity" not in decision.create[1]["spec"]["template"]["spec"]
    assert '"target_nodes": [\n   "node2"\n  ]' in decision.create[0]["data"]["config.json"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://sim.llm.svc:80/v1", ("llm", "sim")),
        ("http://sim.llm.svc.cluster.local", ("llm", "sim")),
        ("https://api.example.com", None),
    ],
)
def test_an_address_inside_the_cluster_is_a_service(url: str, expected: tuple[str, str] | None) -> None:
    assert service_in(url) == expected
    assert vantage_in_cluster(url) == ("in_cluster" if expected else "north_south")
