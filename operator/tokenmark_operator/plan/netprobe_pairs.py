"""NetProbe and nodes -> visits: which pairs are measured, with which tests, in which order (pure).

A mesh of N nodes is a tournament; whoever measures only two of its rounds has still seen every node send and receive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmark_decisions.tournament import tournament
from tokenmark_schemas.kube import Toleration
from tokenmark_schemas.netprobe import NetProbeSpec, ProbeTest
from tokenmark_schemas.probe_status import PairStatus

MAX_VISITS = 256
Node = dict[str, Any]
Pair = tuple[Node, Node | None]
Round = list[Pair]


@dataclass(frozen=True)
class Chosen:
    """`visits` in the order in which they are made; `pairs` are those measured, `pairs_of` those that the topology has; `how`
    they were chosen, where they are not all."""

    visits: list[PairStatus]
    pairs: int
    pairs_of: int
    how: str = ""


def choose_visits(spec: NetProbeSpec, nodes: list[Node]) -> Chosen:
    """Empty where there are not enough nodes."""
    possible = [node for node in nodes if _usable(node, spec)]
    if spec.placement.source_node is not None:
        return _named(spec, {node["metadata"]["name"]: node for node in possible})
    usable = _cut(possible, spec)
    peered = [test for test in spec.tests if not test.target]
    lonely = [test for test in spec.tests if test.target]
    rounds, how = _rounds(spec, usable) if peered else ([], "")
    if len(usable) < len(possible):
        drawn = f"{len(usable)} of {len(possible)} nodes, drawn with seed {spec.pairs.seed}"
        how = f"{drawn}; {how}" if how else drawn
    visits: list[PairStatus] = []
    if rounds:
        parts = _parts(spec, peered)
        room = (MAX_VISITS - len(parts) - (len(usable) if lonely else 0)) // len(parts)
        rounds, how = _capped(rounds, room, how)
        for part in parts:
            visits += _visits(_with_floor(rounds, part), part, spec, visits)
    if lonely and (rounds or not peered):
        visits += _visits([[(node, None)] for node in usable], lonely, spec, visits)
    return Chosen(visits, sum(map(len, rounds)), _pairs_of(spec, len(possible), rounds) if peered else 0, how)


def _named(spec: NetProbeSpec, usable: dict[str, Node]) -> Chosen:
    """The pairs that were named, one after the other; nothing where a node of them is not open."""
    source, named = spec.placement.source_node or "", spec.placement.target_nodes or []
    if not {source, *named} <= usable.keys():
        return Chosen([], 0, len(named))
    peered = [test for test in spec.tests if not test.target]
    lonely = [test for test in spec.tests if test.target]
    visits: list[PairStatus] = []
    for part in _parts(spec, peered) if named else []:
        visits += _visits([[(usable[source], usable[target])] for target in named], part, spec, visits)
    if lonely:
        visits += _visits([[(usable[source], None)]], lonely, spec, visits)
    return Chosen(visits, len(named), len(named))


def _pairs_of(spec: NetProbeSpec, count: int, rounds: list[Round]) -> int:
    """How many pairs that many nodes have."""
    if spec.placement.topology == "DifferentZone":
        return sum(map(len, rounds))
    return {"SameNode": count, "DifferentNode": count // 2}.get(spec.placement.topology, count * (count - 1) // 2)


def _usable(node: Node, spec: NetProbeSpec) -> bool:
    """Open to this probe's agents."""
    wanted = {**(spec.placement.node_selector or {}), **(spec.execution.node_selector or {})}
    return is_open(node, wanted, [*(spec.placement.tolerations or []), *(spec.execution.tolerations or [])])


def is_open(node: Node, wanted: dict[str, str], tolerations: Sequence[Toleration]) -> bool:
    """Ready, with the labels that are wanted, and open to pods that tolerate so much."""
    labels = node["metadata"].get("labels") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))
    taints = [t for t in node.get("spec", {}).get("taints") or [] if t.get("effect") in ("NoSchedule", "NoExecute")]
    closed = any(not any(_tolerates(toleration, taint) for toleration in tolerations) for taint in taints)
    return (
        ready
        and not closed
        and not node.get("spec", {}).get("unschedulable")
        and all(labels.get(k) == v for k, v in wanted.items())
    )


def _tolerates(toleration: Toleration, taint: dict[str, Any]) -> bool:
    """As the scheduler has it: an empty key is every key, an empty effect every effect."""
    if toleration.effect and toleration.effect != taint.get("effect"):
        return False
    if not toleration.key:
        return toleration.operator == "Exists"
    same = toleration.operator == "Exists" or (toleration.value or "") == (taint.get("value") or "")
    return toleration.key == taint.get("key") and same


def _cut(nodes: list[Node], spec: NetProbeSpec) -> list[Node]:
    """At most `maxNodes`, drawn by the seed; between zones, one zone after the other has its turn."""
    drawn = sorted(nodes, key=lambda node: lot(spec.pairs.seed, node["metadata"]["name"]))
    if spec.placement.topology == "DifferentZone":
        turn: dict[str | None, int] = {}
        ranked = []
        for node in drawn:
            turn[zone_of(node)] = turn.get(zone_of(node), 0) + 1
            ranked.append((turn[zone_of(node)], node))
        drawn = [node for _, node in sorted(ranked, key=lambda entry: entry[0])]
    return drawn[: spec.placement.max_nodes]


def lot(seed: int, name: str) -> str:
    """A place in an order that the seed alone decides."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def zone_of(node: Node | None) -> str | None:
    return ((node or {"metadata": {}})["metadata"].get("labels") or {}).get("topology.kubernetes.io/zone")


# --- pairs ------------------------------------------------------------------------------------------------------------


def _rounds(spec: NetProbeSpec, nodes: list[Node]) -> tuple[list[Round], str]:
    """(rounds of disjoint pairs, how those were chosen)."""
    match spec.placement.topology:
        case "SameNode":
            return [[(node, node) for node in nodes]] if nodes else [], ""
        case "DifferentZone":
            matched = _across_zones(nodes)
            return [matched] if matched else [], ""
        case "DifferentNode":
            return _met(nodes)[:1], ""
    rounds = _met(nodes)
    if spec.pairs.selection == "RoundRobin":
        return rounds[:2], "two rounds: every node in both roles"
    if spec.pairs.selection == "Sample" and spec.pairs.count is not None and spec.pairs.count < sum(map(len, rounds)):
        return _sample(rounds, spec.pairs.count, spec.pairs.seed), f"a sample with seed {spec.pairs.seed}"
    return rounds, ""


def _met(nodes: list[Node]) -> list[Round]:
    return [list(pairs) for pairs in tournament(nodes)]


def _across_zones(nodes: list[Node]) -> Round:
    """As many disjoint pairs of different zones as there can be: each of the two zones that have most nodes left."""
    free: dict[str, list[Node]] = {}
    for node in nodes:
        if zone := zone_of(node):
            free.setdefault(zone, []).append(node)
    found: Round = []
    while sum(1 for members in free.values() if members) > 1:
        first, second = sorted(free.values(), key=len, reverse=True)[:2]
        found.append((first.pop(0), second.pop(0)))
    return found


def _sample(rounds: list[Round], count: int, seed: int) -> list[Round]:
    """That many pairs, in the rounds where they stand."""
    named = [(lot(seed, "/".join(_name(n) or "" for n in pair)), pair) for pairs in rounds for pair in pairs]
    drawn = {id(pair) for _, pair in sorted(named, key=lambda entry: entry[0])[:count]}
    return [kept for pairs in rounds if (kept := [pair for pair in pairs if id(pair) in drawn])]


def _capped(rounds: list[Round], room: int, how: str) -> tuple[list[Round], str]:
    """Whole rounds for as long as there is room, then what of the next one fits."""
    kept: list[Round] = []
    for pairs in rounds:
        kept.append(pairs[:room])
        room -= len(kept[-1])
    cut = sum(map(len, rounds)) > sum(map(len, kept))
    said = "the first rounds, up to the cap of visits"
    return [pairs for pairs in kept if pairs], (f"{how}; {said}" if how else said) if cut else how


# --- visits -----------------------------------------------------------------------------------------------------------


def _parts(spec: NetProbeSpec, tests: list[ProbeTest]) -> list[list[ProbeTest]]:
    """Tests that one visit can make: those of the host's network apart; and where several pairs are measured at a time,
    latency apart from floods, which would be felt by other pairs too."""
    kinds = [[test for test in tests if (test.path == "NodeToNode") == host] for host in (False, True)]
    if spec.pairs.max_concurrent > 1:
        kinds = [[t for t in part if (t.type == "Throughput") == flood] for flood in (False, True) for part in kinds]
    return [part for part in kinds if part]


def _with_floor(rounds: list[Round], part: list[ProbeTest]) -> list[Round]:
    """The first node against itself, before the others: what the tool and one kernel cost. A flood on one node measures its
    processors, and is left out."""
    source = rounds[0][0][0]
    is_floor = rounds[0][0][1] is source
    return rounds if is_floor or all(test.type == "Throughput" for test in part) else [[(source, source)], *rounds]


def _visits(
    rounds: list[Round], part: list[ProbeTest], spec: NetProbeSpec, before: list[PairStatus]
) -> Iterator[PairStatus]:
    index, number = len(before), max((visit.round for visit in before), default=0)
    for pairs in rounds:
        number += 1
        for source, target in pairs:
            index += 1
            floor = target is source and spec.placement.topology != "SameNode"
            tests = [test.name for test in part if not (floor and test.type == "Throughput")]
            yield PairStatus(
                index=index, round=number, source_node=source["metadata"]["name"], target_node=_name(target),
                source_zone=zone_of(source), target_zone=zone_of(target),
                tests=None if len(tests) == len(spec.tests) else tests, host_network=part[0].path == "NodeToNode",
            )  # fmt: skip


def _name(node: Node | None) -> str | None:
    return None if node is None else str(node["metadata"]["name"])
