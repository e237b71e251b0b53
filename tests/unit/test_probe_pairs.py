"""Which pairs are measured: every pair once, rounds of disjoint ones, both roles soon, and what a cap leaves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.probes import a_node
from tokenmark_decisions.tournament import tournament
from tokenmark_operator.plan.netprobe_pairs import Chosen, choose_visits
from tokenmark_schemas.netprobe import NetProbeSpec

RTT = {"name": "rtt", "type": "TCPLatency"}
BW = {"name": "bw", "type": "Throughput"}


def nodes(count: int, zones: int = 0) -> list[dict[str, Any]]:
    return [a_node(f"node{i}", f"z{i % zones}" if zones else "") for i in range(count)]


def chosen(count: int, *, zones: int = 0, tests: tuple[dict[str, Any], ...] = (RTT,), **spec: Any) -> Chosen:
    return choose_visits(NetProbeSpec.model_validate({"tests": list(tests), **spec}), nodes(count, zones))


def pairs(found: Chosen) -> list[tuple[str, str | None]]:
    return [(v.source_node, v.target_node) for v in found.visits if v.source_node != v.target_node]


@given(st.integers(2, 40))
def test_a_tournament_has_every_pair_once_in_rounds_of_disjoint_ones(count: int) -> None:
    rounds = tournament(nodes(count))
    assert len(rounds) == count - 1 + count % 2
    met = Counter(frozenset(n["metadata"]["name"] for n in pair if n) for pairs in rounds for pair in pairs)
    assert len(met) == count * (count - 1) // 2
    assert set(met.values()) == {1}
    for members in rounds:
        seen = [id(node) for pair in members for node in pair]
        assert len(seen) == len(set(seen))


@given(st.integers(2, 32).map(lambda half: 2 * half))
def test_two_rounds_give_every_node_both_roles(count: int) -> None:
    two = tournament(nodes(count))[:2]
    for role in (0, 1):
        assert len({id(pair[role]) for members in two for pair in members}) == count


def test_every_mesh_begins_with_the_floor_of_the_tool() -> None:
    found = chosen(3, placement={"topology": "Mesh"})
    first = found.visits[0]
    assert first.source_node == first.target_node
    assert len(pairs(found)) == found.pairs == found.pairs_of == 3
    assert [v.round for v in found.visits] == [1, 2, 3, 4]


def test_a_flood_is_not_sent_from_a_node_to_itself() -> None:
    found = chosen(2, tests=(RTT, BW))
    assert found.visits[0].tests == ["rtt"]
    assert found.visits[1].tests is None
    assert pairs(chosen(2, tests=(BW,))) == [(v.source_node, v.target_node) for v in chosen(2, tests=(BW,)).visits]


def test_a_mesh_of_64_nodes_is_cut_at_its_cap_and_every_node_was_seen_in_both_roles() -> None:
    found = chosen(64, placement={"topology": "Mesh", "maxNodes": 64})
    assert len(found.visits) <= 256
    assert found.pairs_of == 2016
    assert (found.pairs < 2016, found.how) == (True, "the first rounds, up to the cap of visits")
    for role in (0, 1):
        assert len({pair[role] for pair in pairs(found)}) == 64


@given(
    st.integers(1, 70), st.sampled_from(["SameNode", "DifferentNode", "DifferentZone", "Mesh"]), st.integers(1, 7), st.integers(1, 3),
    st.integers(1, 64),
)  # fmt: skip
def test_no_probe_has_more_visits_than_a_status_holds(
    count: int, topology: str, which: int, at_a_time: int, most: int
) -> None:
    host = {"name": "host", "type": "TCPLatency", "path": "NodeToNode"}
    page = {"name": "page", "type": "HTTPGet", "target": {"url": "http://a/"}}
    tests = [test for bit, test in enumerate(([RTT, BW], [host], [page])) if which & 1 << bit]
    flat = tuple(test for group in tests for test in group)
    spec = {"placement": {"topology": topology, "maxNodes": most}, "pairs": {"maxConcurrent": at_a_time}}
    found = chosen(count, zones=3, tests=flat, **spec)
    assert len(found.visits) <= 256
    assert [v.index for v in found.visits] == list(range(1, len(found.visits) + 1))


def test_nodes_beyond_the_cap_are_told_of() -> None:
    found = chosen(100, placement={"topology": "Mesh"})
    assert (found.pairs, found.pairs_of) == (120, 4950)
    assert found.how == "16 of 100 nodes, drawn with seed 1"
    two = chosen(9, zones=3, placement={"topology": "DifferentZone", "maxNodes": 2})
    assert len(pairs(two)) == 1, "zone by zone, not three times the same one"
    page = {"name": "page", "type": "HTTPGet", "target": {"url": "http://a/"}}
    assert (chosen(4, tests=(page,)).pairs, chosen(4, tests=(page,)).pairs_of) == (0, 0)


def test_a_taint_is_open_to_those_who_tolerate_that_one() -> None:
    gpu = {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}
    control = {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}
    there = [a_node("a"), a_node("b", **gpu), a_node("c", **control)]
    tolerated = {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}
    for where in ("placement", "execution"):
        spec = NetProbeSpec.model_validate({"tests": [RTT], where: tolerated})
        found = choose_visits(spec, there)
        assert {v.source_node for v in found.visits} | {v.target_node for v in found.visits} == {"a", "b"}


def test_the_seed_decides_the_order_and_nothing_else_does() -> None:
    mesh = {"topology": "Mesh"}
    assert pairs(chosen(8, placement=mesh)) == pairs(chosen(8, placement=mesh))
    assert pairs(chosen(8, placement=mesh)) != pairs(chosen(8, placement=mesh, pairs={"seed": 2}))


def test_round_robin_and_samples_say_how_they_were_chosen() -> None:
    two = chosen(6, placement={"topology": "Mesh"}, pairs={"selection": "RoundRobin"})
    assert (two.pairs, two.pairs_of) == (6, 15)
    assert "both roles" in two.how
    sample = chosen(6, placement={"topology": "Mesh"}, pairs={"selection": "Sample", "count": 4, "seed": 9})
    assert (sample.pairs, sample.how) == (4, "a sample with seed 9")


def test_different_nodes_and_zones_are_disjoint_pairs() -> None:
    apart = chosen(5, placement={"topology": "DifferentNode"})
    assert len(pairs(apart)) == 2
    zones = chosen(6, zones=3, placement={"topology": "DifferentZone"})
    assert len(pairs(zones)) == 3
    assert all(v.source_zone != v.target_zone for v in zones.visits if v.source_node != v.target_node)
    assert chosen(4, placement={"topology": "DifferentZone"}).visits == [], "no node says its zone"


def test_the_same_node_is_measured_on_each() -> None:
    found = chosen(3, placement={"topology": "SameNode"}, tests=(RTT, BW))
    assert len(found.visits) == 3
    assert all(v.source_node == v.target_node and v.tests is None for v in found.visits)


def test_with_several_pairs_at_a_time_latency_is_measured_apart_from_floods() -> None:
    found = chosen(4, placement={"topology": "Mesh"}, pairs={"maxConcurrent": 2}, tests=(RTT, BW))
    assert {tuple(v.tests or ()) for v in found.visits} == {("rtt",), ("bw",)}
    latency = max(v.round for v in found.visits if v.tests == ["rtt"])
    assert min(v.round for v in found.visits if v.tests == ["bw"]) > latency


def test_the_hosts_network_has_visits_of_its_own() -> None:
    host = {"name": "host", "type": "TCPLatency", "path": "NodeToNode"}
    found = chosen(2, tests=(RTT, host))
    assert [(v.tests, v.host_network) for v in found.visits if v.source_node != v.target_node] == [
        (["rtt"], False),
        (["host"], True),
    ]


def test_targets_are_asked_from_every_node_and_need_no_pair() -> None:
    page = {"name": "page", "type": "HTTPGet", "target": {"url": "http://vllm.llm:8000/health"}}
    alone = chosen(1, tests=(page,))
    assert [(v.source_node, v.target_node) for v in alone.visits] == [("node0", None)]
    both = chosen(3, tests=(RTT, page))
    assert len([v for v in both.visits if v.target_node is None and v.tests == ["page"]]) == 3
    assert chosen(1, tests=(RTT, page)).visits == [], "a pair is asked for, and there is none"


@pytest.mark.parametrize("spec", [{"unschedulable": True}, {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}])
def test_nodes_that_take_no_pod_are_left_out(spec: dict[str, Any]) -> None:
    usable = [a_node("a"), a_node("b"), a_node("c", **spec)]
    found = choose_visits(NetProbeSpec.model_validate({"tests": [RTT], "placement": {"topology": "Mesh"}}), usable)
    assert found.pairs_of == 1
