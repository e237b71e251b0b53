"""The measuring agent: every test, every repetition, against one answering agent and the targets -> `netprobe-result/v1`."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tokenmark_decisions.probe_pair import statistics_of, verdict_of
from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import (
    HEALTH_PORT,
    EndFacts,
    NetProbeResult,
    ProbeConfig,
    ProbeMeasurement,
    ProbeVerdict,
)

from .ends import Raw, end_facts, raw_facts
from .measure.table import way_of

WAIT_FOR_SERVER_S = 60


class Stopped(Exception):
    """A signal asked for the end."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Pair:
    """The measurement of one pair. `measurements` are kept as they come: whoever stops it has them."""

    config: ProbeConfig
    told: Callable[[str], None] = lambda _: None
    abandoned: Callable[[], bool] = lambda: False
    wait_s: float = WAIT_FOR_SERVER_S
    measurements: list[ProbeMeasurement] = field(default_factory=list)
    stopped: int = 0
    _measuring: bool = False
    _cut: bool = False
    _unreachable: str | None = None

    def run(self) -> NetProbeResult:
        """All of it, or what there was time for before a signal (`stopped` is its number)."""
        started, here, there = now(), raw_facts(), None
        ends_by = time.monotonic() + self.config.deadline_s
        try:
            self._measuring = True
            there = self._wait_for_server()
            for repetition, test in self._plan():
                self._cut = self._cut or time.monotonic() > ends_by or self.abandoned()
                if self._cut:
                    break
                self._once(repetition, test)
        except Stopped:
            self._cut = True
        self._measuring = False
        return self._result(started, here, there)

    def stop(self, number: int) -> None:
        """For a signal's handler: ends the measuring, once; what was measured is being written by then."""
        self.stopped = self.stopped or number
        if self._measuring:
            self._measuring = False
            raise Stopped

    def _plan(self) -> Iterator[tuple[int, ProbeTest]]:
        """Every test once a repetition, in an order of its own: what wanders over minutes must not always meet the same test."""
        for repetition in range(self.config.repetitions):
            tests = list(self.config.tests)
            random.Random(f"{self.config.seed}:{repetition}").shuffle(tests)
            yield from ((repetition, test) for test in tests)

    def _once(self, repetition: int, test: ProbeTest) -> None:
        self.told(f"repetition {repetition + 1} of {self.config.repetitions}: {test.name}")
        self.measurements.append(self._measured(test, repetition))

    def _measured(self, test: ProbeTest, repetition: int) -> ProbeMeasurement:
        """One test once. A failure is a measurement with an error, never an exception."""
        facts = {
            "test": test.name, "type": test.type, "path": test.way, "repetition": repetition, "seconds": test.seconds,
            "order": len(self.measurements),
        }  # fmt: skip
        host = self.config.service_host if test.way == "PodToService" else self.config.server_host
        way = way_of(test)
        try:
            if way.needs_agent and (host is None or self._unreachable):
                raise OSError(self._unreachable or f"{test.type} needs an answering agent, and there is none")
            return ProbeMeasurement(**facts, **way.measure(host or "", test))
        except (OSError, ValueError) as exc:  # an address that is none is met as a ValueError
            return ProbeMeasurement(**facts, error=(str(exc) or type(exc).__name__)[:300])

    def _wait_for_server(self) -> Raw | None:
        """Its facts, once it answers."""
        host, why = self.config.server_host, ""
        limit = time.monotonic() + self.wait_s
        while host is not None and time.monotonic() < limit:
            try:
                return facts_of(host)
            except (OSError, ValueError, http.client.HTTPException) as exc:
                why = str(exc)
                time.sleep(0.3)
        if host is not None:
            self._unreachable = (
                f"no answer from the agent at {host}:{HEALTH_PORT} within {self.wait_s:g} s ({why}); "
                "does a NetworkPolicy or a firewall keep the two apart?"
            )
        return None

    def _result(self, started: str, here: Raw, there: Raw | None) -> NetProbeResult:
        config = self.config
        unjudged = NetProbeResult(
            probe=config.probe, namespace=config.namespace, uid=config.uid, source_node=config.source_node,
            target_node=config.target_node, started_at=started, ended_at=now(), seed=config.seed,
            tests=[test.name for test in config.tests], repetitions=config.repetitions, interrupted=self._cut,
            client=end_facts(here, raw_facts()), server=self._server_facts(there),
            measurements=self.measurements, statistics=statistics_of(self.measurements),
            verdict=ProbeVerdict(verdict="valid", reasons=[]),
        )  # fmt: skip
        return unjudged.model_copy(update={"verdict": verdict_of(unjudged)})

    def _server_facts(self, before: Raw | None) -> EndFacts | None:
        if before is None or self.config.server_host is None:
            return None
        try:
            return end_facts(before, facts_of(self.config.server_host))
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return None


def facts_of(host: str) -> Raw:
    """What the answering agent says of its end. Raises OSError, ValueError, HTTPException."""
    connection = http.client.HTTPConnection(host, HEALTH_PORT, timeout=2)
    try:
        connection.request("GET", "/facts")
        document = json.loads(connection.getresponse().read(65_536))
    finally:
        connection.close()
    if not isinstance(document, dict):
        raise ValueError("no facts")
    return document
