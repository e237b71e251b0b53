"""What a phase asks of its target, and what comes back means: prompts for an engine, or calls to a database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tokenmark_schemas.database import DATABASES
from tokenmark_schemas.quality import MOST_ANSWER, QualityTest
from tokenmark_schemas.result import DatabaseFacts, EngineFacts
from tokenmark_schemas.run import RunConfig, RunIdentity

from ..engines import dialect_of
from ..load.frames import Exchange
from ..load.route import Route
from ..pipelines.database import DatabaseCalls
from ..quality.scorers import answer_of, right
from ..samples.decode import decode
from ..samples.sample import Judged, Sample
from ..target.http_get import Pages
from ..target.identity import identity_of
from ..target.route import bearer_token, masked, route_to
from ..workload.conversations import Conversations, spoken, step_of
from ..workload.prompts import RequestFactory, salt_of

GOOD = (b"ok\n", b"HTTP/1.1 2", b"HTTP/1.0 2")  # how an answer of a database begins that is no failure


@dataclass(frozen=True)
class Part:
    """One phase of a run, as its requests are named: their `salt` is made of all that tells phases apart."""

    label: str
    repetition: int
    salt: str
    prefix: str


class Asks(Protocol):
    """`fills`: there is something to make before the load, and to take away after it."""

    token: str | None
    fills: bool

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Whatever has to be there before the load. Raises RunFailed."""

    def take_away(self) -> str | None:
        """What `prepare` made; says what is left of it, in a sentence."""

    def salt(self, run: RunIdentity, label: str, repetition: int, started_ns: int) -> str:
        """What makes the requests of one phase unlike those of all others."""

    def identity(self, pages: Pages) -> EngineFacts:
        """What the target says of itself."""

    def database(self) -> DatabaseFacts | None:
        """What the run made there."""

    def fields(self, part: Part) -> dict[str, Any]:
        """Of the phase: the way to the target, and what is sent."""

    def trace_offsets(self, speedup: float) -> list[int]:
        """When a trace's requests are due, in nanoseconds. Raises InvalidInput where there is none."""

    def sample(self, exchange: Exchange, part: Part) -> Sample: ...


def asks_of(config: RunConfig, stopped: Callable[[], bool]) -> Asks:
    """Raises InvalidInput and RunFailed as the way to the target does."""
    return DatabaseAsks(config, stopped) if config.target.engine in DATABASES else Prompts(config, stopped)


class Prompts:
    fills = False

    def __init__(self, config: RunConfig, stopped: Callable[[], bool]) -> None:
        self.config = config
        self.destination = route_to(config.target, stopped)
        self.dialect, base = dialect_of(config.target.engine, self.destination.path, config.target.retrieval)
        self.token = bearer_token(config)
        self._secrets = [self.token, (self.destination.proxy_authorization or "").removeprefix("Basic ")]
        self.factory = RequestFactory(
            self.dialect,
            config.target.model,
            config.workload,
            host=self.destination.host,
            path=self.destination.origin + base + self.dialect.path_for(config.workload.streaming),
            token=self.token,
            proxy_authorization=self.destination.proxy_authorization,
            dataset_file=config.dataset_file,
        )

    def prepare(self, _stopped: Callable[[], bool]) -> None:
        """An engine has its model."""

    def take_away(self) -> str | None:
        return None

    def salt(self, run: RunIdentity, label: str, repetition: int, started_ns: int) -> str:
        """No prompt is asked twice, in any run: a prefix cache would answer."""
        return salt_of(run.name, run.uid, run.attempt, label, repetition, started_ns)

    def identity(self, pages: Pages) -> EngineFacts:
        return identity_of(self.config.target.engine, pages)

    def database(self) -> DatabaseFacts | None:
        return None

    def fields(self, part: Part) -> dict[str, Any]:
        """Requests by themselves, or turns of conversations."""
        route, spec = {"route": self.destination.route}, self.config.workload.conversation
        if spec is None:
            return {**route, "render": self.factory.renderer(part.salt, part.prefix)}
        dialogue = Conversations(self.factory, spec, self.config.seed, part.salt, part.prefix)
        return {**route, "render": dialogue.render, "dialogue": dialogue}

    def trace_offsets(self, speedup: float) -> list[int]:
        return self.factory.trace_offsets(speedup)

    def sample(self, exchange: Exchange, part: Part) -> Sample:
        exchange.data = masked(exchange.data, self._secrets)
        sample = decode(
            exchange, self.dialect, stage=part.label, repetition=part.repetition, stream=self.config.workload.streaming,
            request_id=f"{part.prefix}-{exchange.seq}",
        )  # fmt: skip
        sample.output_limit = self._limit_of(sample)
        if (test := self.factory.test_of(sample.seq)) is not None:
            self._judge(sample, exchange, test)
        return sample

    def _judge(self, sample: Sample, exchange: Exchange, test: QualityTest) -> None:
        """An answer without a word is a wrong one; where the way or the server failed there is none to judge."""
        if sample.failure is not None and sample.failure.kind != "empty":
            return
        text = spoken(exchange.data, self.dialect, self.config.workload.streaming)
        sample.judged = Judged(test.test, test.kind, right(test.expect, text), answer_of(text)[:MOST_ANSWER])

    def _limit_of(self, sample: Sample) -> int:
        if sample.conversation is None or sample.turn is None:
            return self.factory.output_limit(sample.seq)
        return self.factory.output_limit(sample.conversation, step_of(sample.conversation, sample.turn))


class DatabaseAsks:
    fills = True

    def __init__(self, config: RunConfig, stopped: Callable[[], bool]) -> None:
        self._engine = config.target.engine
        self.token = bearer_token(config)
        over_http = config.target.engine != "postgres"
        self._destination = route_to(config.target, stopped) if over_http else None
        self.calls = DatabaseCalls(config, self.token, self._destination)

    def prepare(self, stopped: Callable[[], bool]) -> None:
        self.calls.prepare(stopped)

    def take_away(self) -> str | None:
        return self.calls.database.drop()

    def salt(self, _run: RunIdentity, label: str, repetition: int, _started_ns: int) -> str:
        """The same calls in every run: each has a database of its own."""
        return f"{label}:{repetition}"

    def identity(self, _pages: Pages) -> EngineFacts:
        return EngineFacts(name=self._engine, version=self.calls.database.version)

    def database(self) -> DatabaseFacts | None:
        return self.calls.database.facts

    def fields(self, part: Part) -> dict[str, Any]:
        route = self._destination.route if self._destination else Route(addresses=())
        return {"route": route, **self.calls.said(part.salt, part.prefix)}

    def trace_offsets(self, speedup: float) -> list[int]:
        raise NotImplementedError("a trace over a database is refused with the manifest")

    def sample(self, exchange: Exchange, part: Part) -> Sample:
        if not exchange.data.startswith(GOOD):  # in the ids of an answer a password of digits would be found by chance
            exchange.data = masked(exchange.data, [self.token])
        return self.calls.sample(
            exchange,
            part.salt,
            stage=part.label,
            repetition=part.repetition,
            request_id=f"{part.prefix}-{exchange.seq}",
        )
