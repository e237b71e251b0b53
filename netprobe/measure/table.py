"""Which test is measured how. One row a type, and one for a target where that is something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import IPERF3_PORT, PING_PORT

from .connect import connect_to_agent, connect_to_target
from .dns_lookup import dns_lookup
from .http_get import http_get
from .iperf3 import throughput
from .tcp_ping import tcp_latency
from .udp_ping import udp_latency

Measure = Callable[[str, ProbeTest], dict[str, object]]


@dataclass(frozen=True)
class Way:
    """`measure(host, test)` gives members of a ProbeMeasurement; `needs_agent`: against one that answers."""

    measure: Measure
    needs_agent: bool = True


TESTS: dict[str, Way] = {
    "TCPLatency": Way(lambda host, test: tcp_latency(host, PING_PORT, test)),
    "UDPLatency": Way(lambda host, test: udp_latency(host, PING_PORT, test)),
    "TCPConnect": Way(lambda host, test: connect_to_agent(host, PING_PORT, test)),
    "Throughput": Way(lambda host, test: throughput(host, IPERF3_PORT, PING_PORT, test)),
}
TARGETS: dict[str, Way] = {
    "TCPConnect": Way(lambda _, test: connect_to_target(test), needs_agent=False),
    "HTTPGet": Way(lambda _, test: http_get(test), needs_agent=False),
    "DNSLookup": Way(lambda _, test: dns_lookup(test), needs_agent=False),
}


def way_of(test: ProbeTest) -> Way:
    return (TARGETS if test.target else TESTS)[test.type]
