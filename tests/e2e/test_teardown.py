"""The end of the cluster: it comes back from the dead, and leaves nothing behind. Runs last: it takes everything."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cluster import network, nodes, processes
from tests.cluster.embedded import NAMES, PROGRAMS, Embedded
from tests.cluster.provider import Cluster


@pytest.fixture
def mine(cluster: Cluster) -> Embedded:
    if not isinstance(cluster, Embedded):
        pytest.skip("only the embedded cluster is ours to break")
    return cluster


def test_up_recovers_where_every_process_was_killed(mine: Embedded) -> None:
    namespaces = nodes.pod_namespaces()
    assert namespaces, "no pod ran, so nothing is proven"
    for name in PROGRAMS:
        processes.send(name, signal.SIGKILL)
    for node in NAMES:
        processes.kill_by_argument(str(nodes.socket_of(node)))
    limit = time.monotonic() + 10
    while any(processes.alive(name) for name in PROGRAMS) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not any(processes.alive(name) for name in PROGRAMS)
    assert nodes.leftovers() + network.leftovers(), "nothing was left, so nothing is proven"
    mine.up()
    assert [path for path in namespaces if path.exists()] == [], "the namespaces of pods that are no more"
    assert all(processes.alive(name) for name in PROGRAMS)


def test_down_leaves_nothing_behind_and_twice_is_fine(mine: Embedded) -> None:
    mine.down()
    assert nodes.leftovers() + network.leftovers() == []
    assert not any(processes.alive(name) for name in PROGRAMS)
    mine.down()
