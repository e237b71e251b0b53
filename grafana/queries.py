"""What several dashboards ask in the same words: runs that are picked, runs that may be compared, a run's figures."""

from __future__ import annotations

PICKED = (
    'run_namespace=~"$run_namespace", vantage=~"$vantage", model=~"$model", engine=~"$engine", provider=~"$provider"'
)
ALIKE = f'tokenmark_run_info{{{PICKED}, fingerprint=~"$fingerprint"}}'
COMPARED = f'tokenmark_run_info{{{PICKED}, fingerprint=~"$fingerprint", verdict=~"valid|degraded"}}'
SAME_RUN = "on (run, run_namespace)"
ALIKE_BY_NAME = 'tokenmark_run_info{run_namespace=~"$run_namespace", model=~"$model", fingerprint=~"$fingerprint"}'
# value: the fingerprint; text: what it is made of, for people; the work that most runs have done comes first
SAME_WORK = (
    "query_result(sort_desc(count by (fingerprint, shown) (label_join(tokenmark_run_info"
    '{run_namespace=~"$run_namespace", model=~"$model"}, "shown", " · ", "workload", "engine", "fingerprint"))))'
)
SAME_WORK_REGEX = '/fingerprint="(?<value>[^"]*)".*shown="(?<text>[^"]*)"/'
LOADS = f"query_result(count by (stage) (tokenmark_run_output_tokens and {SAME_RUN} {ALIKE_BY_NAME}))"
LOADS_REGEX = '/stage="([^"]*)"/'
# what is under way first, then the newest
RUNS = (
    'query_result(sort_desc(max by (run) (tokenmark_run_live_in_flight{run_namespace=~"$run_namespace"} * 0 + 9e12 or '
    'tokenmark_run_completion_timestamp_seconds{run_namespace=~"$run_namespace"})))'
)
_ENDED = 'max by (run) (tokenmark_run_completion_timestamp_seconds{run_namespace=~"$run_namespace"})'
RUNS_OLDEST_FIRST, RUNS_NEWEST_FIRST = f"query_result(sort({_ENDED}))", f"query_result(sort_desc({_ENDED}))"
RUNS_REGEX = '/run="([^"]*)"/'


def labels_of(name: str, *, where: str = "", metric: str = "tokenmark_run_info") -> str:
    """The query of a variable."""
    return f"label_values({metric}{{{where}}}, {name})" if where else f"label_values({metric}, {name})"


def named(expr: str, label: str = "provider") -> str:
    """A series whose label is empty shows as unknown, not as a blank."""
    return f'label_replace({expr}, "{label}", "unknown", "{label}", "")'


def of_providers(metric: str, more: str = "", *, by: str = "provider", load: str = 'stage="$stage"') -> str:
    """The mean over the compared runs of each provider, at the picked load."""
    return named(f"avg by ({by}) ({metric}{{{load}{more}}} and {SAME_RUN} {COMPARED})")


def of_run(metric: str, more: str = "", run: str = "run") -> str:
    """A figure of one run, a series a stage."""
    return f'max by (stage) ({metric}{{run_namespace=~"$run_namespace", run="${run}"{more}}})'


def quantile(q: str) -> str:
    return f', quantile="{q}"'
