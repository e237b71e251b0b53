"""The standing mesh: an agent on every node answers, and pings a few of the others lightly; what it finds is scraped.

Peers are the addresses behind one name (a headless Service). Each agent keeps to the few that a rendezvous hash gives it, so the
number of series grows with the nodes, not with their square, and no node is left out as a source.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from tokenmark_schemas.probe_result import PING_PORT

from .client import facts_of
from .measure.connect import AT_ONCE
from .measure.tcp_ping import MIN_BYTES, Ping
from .measure.times import SECOND_NS, mono, paced
from .measure.udp_ping import Exchange
from .server import Agent

METRICS_PORT = 5204
PAIR = ("source_node", "target_node")
BUCKETS_S = (*(base * scale for scale in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1) for base in (1, 2, 5)), 1.0)
PINGS, DATAGRAMS, RATE_HZ = 5, 10, 50
PATIENCE_S = 2


class Series:
    """What a scrape sees; a peer that is gone takes its series along."""

    def __init__(self, node: str) -> None:
        self.registry, self._node = CollectorRegistry(), node
        into = self.registry
        self.rtt = Histogram(
            "tokenmark_mesh_rtt_seconds", "Round trips over TCP.", PAIR, registry=into, buckets=BUCKETS_S
        )
        self.connect = Histogram(
            "tokenmark_mesh_connect_seconds", "New connections.", PAIR, registry=into, buckets=BUCKETS_S
        )
        self.up = Gauge("tokenmark_mesh_up", "1 while the peer answers.", PAIR, registry=into)
        self.answered = Counter(
            "tokenmark_mesh_datagrams_answered", "UDP messages that came back.", PAIR, registry=into
        )
        self.lost = Counter(
            "tokenmark_mesh_datagrams_lost", "UDP messages that did not come back.", PAIR, registry=into
        )
        self.peers = Gauge(
            "tokenmark_mesh_peers", "Peers that this agent pings.", ["source_node"], registry=self.registry
        )

    def forget(self, target: str) -> None:
        for family in (self.rtt, self.connect, self.up, self.answered, self.lost):
            with contextlib.suppress(KeyError):  # it was never reached
                family.remove(self._node, target)

    def pinged(self, address: str, target: str) -> None:
        """One light look at one peer."""
        pair = (self._node, target)
        try:
            self._look(address, pair)
        except OSError:
            self.up.labels(*pair).set(0)
            self.lost.labels(*pair).inc(0)
        else:
            self.up.labels(*pair).set(1)

    def _look(self, address: str, pair: tuple[str, str]) -> None:
        began = mono()
        with socket.create_connection((address, PING_PORT), timeout=PATIENCE_S) as sock:
            self.connect.labels(*pair).observe((mono() - began) / SECOND_NS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        with Ping(address, PING_PORT, MIN_BYTES) as ping:
            for _ in paced(PINGS / RATE_HZ, RATE_HZ):
                self.rtt.labels(*pair).observe(ping.trip()[0] / SECOND_NS)
        with Exchange(address, PING_PORT, MIN_BYTES) as exchange:
            for due in paced(DATAGRAMS / RATE_HZ, RATE_HZ):
                exchange.send()
                exchange.hear(due + SECOND_NS // RATE_HZ)
            exchange.hear(mono() + SECOND_NS)
            counted = exchange.datagrams()
        self.answered.labels(*pair).inc(counted.sent - counted.lost)
        self.lost.labels(*pair).inc(counted.lost)


def chosen(own: str, peers: Sequence[str], most: int) -> list[str]:
    """The peers with the lowest hash together with one's own address."""
    others = sorted(set(peers) - {own})
    return sorted(others, key=lambda peer: hashlib.sha256(f"{own}>{peer}".encode()).digest())[:most]


def stand(name: str, *, most: int, every_s: float, own: str | None = None) -> int:
    """Answers and pings until a signal comes; returns 128 + n."""
    ended, numbers = threading.Event(), list[int]()

    def stop(number: int, _frame: object) -> None:
        numbers.append(number)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    own = own or os.environ.get("TOKENMARK_POD_IP", "")
    node = os.environ.get("TOKENMARK_NODE") or own
    series, agent, known = Series(node), Agent(iperf3=False), dict[str, str]()
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - whoever scrapes is elsewhere
    start_http_server(METRICS_PORT, everywhere, registry=series.registry)
    print(f"standing mesh of {name}: up to {most} peers every {every_s:g} s", flush=True)
    last: list[str] = []
    try:
        while not ended.is_set():
            began = time.monotonic()
            peers = _addresses(name)
            last = last if peers is None else chosen(own, peers, most)
            _round(series, node, last, known)
            ended.wait(max(0.1, every_s - (time.monotonic() - began)))
    finally:
        agent.close()
    return 128 + numbers[0]


def _round(series: Series, node: str, peers: list[str], known: dict[str, str]) -> None:
    """`known` holds the node of each address, as the peer told it."""
    for gone in set(known) - set(peers):
        series.forget(known.pop(gone))
    series.peers.labels(node).set(len(peers))
    for address in peers:
        if known.get(address, address) == address:  # its node's name is asked for until it tells it
            told = _node_of(address)
            if address in known and told != address:
                series.forget(address)
            known[address] = told
        series.pinged(address, known[address])


def _node_of(address: str) -> str:
    try:
        return str(facts_of(address)["node"] or address)
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return address


def _addresses(name: str) -> list[str] | None:
    """None where the nameserver gives no answer: then the peers are those that they were."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, PING_PORT, type=socket.SOCK_STREAM)]
    except OSError:
        return None
