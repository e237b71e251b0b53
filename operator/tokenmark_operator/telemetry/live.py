"""Runs under way -> samples, from what their runners say of themselves every two seconds. Gone when the run is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric

from ..shared.admission import is_finished
from .families import gauge
from .runs import RUN, row_of, run_labels

NUMBERS = (
    ("in_flight", "live_in_flight", "Requests in flight."),
    ("tokens_per_s", "live_output_tokens_per_second", "Output tokens a second since the phase began."),
    ("eta_s", "live_eta_seconds", "Until the load is over, where the plan says how long it takes."),
)
Progress = Callable[[str], dict[str, Any] | None]


def live_metrics(runs: list[dict[str, Any]], progress: Progress) -> Iterator[Metric]:
    """`progress` gives a pod's newest word by its uid. Figures are the runner's own and unverified."""
    families = {key: gauge(f"tokenmark_run_{name}", about, RUN) for key, name, about in NUMBERS}
    requests = gauge("tokenmark_run_live_requests", "Requests of the phase so far, by result.", (*RUN, "result"))
    for cr in runs:
        attempts = (cr.get("status") or {}).get("attempts") or []
        said = progress(attempts[-1].get("podUID") or "") if attempts and not is_finished(cr) else None
        if said is None:
            continue
        row = row_of(run_labels(cr), str(said.get("stage", ""))[:63])
        for key, family in families.items():
            if (value := _number(said, key)) is not None:
                family.add_metric(row, value)
        done, failed = _number(said, "done"), _number(said, "failed")
        if done is not None and failed is not None:
            requests.add_metric([*row, "succeeded"], done)
            requests.add_metric([*row, "failed"], failed)
    yield from (*families.values(), requests)


def _number(said: dict[str, Any], key: str) -> float | None:
    """A log is not a contract: what is no number is no sample."""
    value = said.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
