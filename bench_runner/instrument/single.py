"""One request, by the same route, dialect and stamps as a load: what came back, whole."""

from __future__ import annotations

from dataclasses import dataclass

from tokenmark_schemas.run import RunTarget
from tokenmark_schemas.workload import WorkloadSpec

from ..engines import dialect_of
from ..load.clock import NS
from ..load.drive import Drive
from ..load.frames import Exchange
from ..load.phase import Limits, Phase
from ..samples.decode import decode
from ..samples.sample import Sample
from ..target.route import masked, route_to
from ..workload.conversations import spoken
from ..workload.prompts import RequestFactory


@dataclass(frozen=True)
class Single:
    """The sample, the visible text, and the answer's bytes without the token."""

    sample: Sample
    text: str
    raw: bytes


def ask_once(target: RunTarget, workload: WorkloadSpec, token: str | None) -> Single:
    """Sends the workload's first prompt. Raises RunFailed where the name does not resolve; a bad answer is a failure of the
    sample."""
    destination = route_to(target)
    dialect, base = dialect_of(target.engine, destination.path, target.retrieval)
    factory = RequestFactory(
        dialect, target.model, workload, host=destination.host, path=destination.origin + base + dialect.path_for(workload.streaming),
        token=token,
    )  # fmt: skip
    limit_ns = target.request_timeout_s * NS
    phase = Phase(
        "test",
        destination.route,
        factory.renderer("test", "test"),
        Limits(limit_ns, limit_ns, limit_ns, limit_ns),
        concurrency=1,
        count=1,
    )
    (exchange,) = [event for event in Drive(phase, 1).events() if isinstance(event, Exchange)]
    raw = masked(exchange.data, [token])
    exchange.data = raw
    sample = decode(exchange, dialect, stage="test", repetition=0, request_id="test-0", stream=workload.streaming)
    return Single(sample, spoken(raw, dialect, workload.streaming), raw)
