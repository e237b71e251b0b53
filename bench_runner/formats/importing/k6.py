"""k6's summary: `--summary-export`, the data of `handleSummary`, or the machine-readable form (1.0.0); read from go.k6.io/k6
1.8.1 and from its output. Which one it is its structure tells.

k6 knows HTTP and no tokens: what is taken over is the time to the end of an answer, rates and errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenmark_schemas.errors import InvalidInput

from .found import MS, Found, FoundStage, Summary, number, scaled, whole

TOOL = "k6"
GOOD = "http_req_duration{expected_response:true}"
DEFINITIONS = {
    "e2e": "http_req_duration: to the last byte of the answer; here it is to the last text",
    "requests_per_s": "over the whole test, its start and end included",
}
REFUSED = {
    "http_req_waiting": "time to the first byte, which may be a header: not to the first token",
    "iteration_duration": "a script's own pauses are in it",
}
STATISTICS = {
    "mean": ("avg",),
    "min": ("min",),
    "max": ("max",),
    "p50": ("med",),
    "p90": ("p(90)", "p90"),
    "p95": ("p(95)", "p95"),
    "p99": ("p(99)", "p99"),
}


def is_ours(document: Any) -> bool:
    return "http_reqs" in _metrics(document)


def _metrics(document: Any) -> dict[str, Mapping[str, Any]]:
    """Name -> its values, of all three forms."""
    if not isinstance(document, Mapping):
        return {}
    found = document.get("metrics") or (document.get("results") or {}).get("metrics")
    if isinstance(found, list):
        return {
            each["name"]: each.get("values") or {} for each in found if isinstance(each, Mapping) and "name" in each
        }
    if not isinstance(found, Mapping):
        return {}
    return {name: each.get("values", each) for name, each in found.items() if isinstance(each, Mapping)}


def read(document: Mapping[str, Any]) -> Found:
    """Raises InvalidInput where no request was made."""
    metrics = _metrics(document)
    sent, duration = whole(metrics["http_reqs"].get("count")), _duration(document, metrics)
    if not sent:
        raise InvalidInput("no request was made")
    if "http_req_failed" not in metrics:
        raise InvalidInput("it lacks http_req_failed: which requests failed nobody can tell")
    failed = _failed(metrics["http_req_failed"], sent)
    good = metrics.get(GOOD) or (metrics.get("http_req_duration") if not failed else None)
    dropped = whole((metrics.get("dropped_iterations") or {}).get("count")) or 0
    metadata = document.get("metadata") or {}
    stage = FoundStage(
        name="all", sent=sent, due=sent + dropped, succeeded=sent - failed, failed=failed, errors={"other": failed} if failed else {},
        duration_s=duration, requests_per_s=(sent - failed) / duration if duration else None,
        summaries={"e2e": _summary(good, sent - failed)} if good and sent > failed else {},
    )  # fmt: skip
    return Found(
        tool=TOOL, version=metadata.get("k6_version") or metadata.get("k6Version"), repetitions=[[stage]],
        ended_at=_time(metadata.get("generated_at") or metadata.get("generatedAt")),
        load_told=False, definitions=DEFINITIONS, refused=REFUSED,
    )  # fmt: skip


def _duration(document: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Seconds. The export tells no length, but a count and its rate over the whole test."""
    said = scaled((document.get("state") or {}).get("testRunDurationMs"), MS) or number(
        (document.get("config") or {}).get("duration")
    )
    count, rate = (number(metrics["http_reqs"].get(name)) for name in ("count", "rate"))
    return said or (count / rate if count and rate else None)


def _failed(found: Mapping[str, Any], sent: int) -> int:
    """Its `passes` and `matches` count requests that failed: they passed the test of having failed."""
    counted = whole(found.get("passes", found.get("matches")))
    if counted is not None:
        return counted
    share = number(found.get("rate", found.get("value")))
    return round(share * sent) if share is not None else 0


def _summary(found: Mapping[str, Any], count: int) -> Summary:
    said = {
        ours: scaled(next((found[name] for name in theirs if name in found), None), MS)
        for ours, theirs in STATISTICS.items()
    }
    return Summary(count, **said)


def _time(said: Any) -> str | None:
    """To milliseconds."""
    return said[:23] + "Z" if isinstance(said, str) and said.endswith("Z") and len(said) > 23 else None
