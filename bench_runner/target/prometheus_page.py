"""A page of metrics in Prometheus' text format, by prometheus-client's own parser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def read_page(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """(name, labels, value) of every sample; nothing of a page that cannot be read to its end: half a page misleads."""
    from prometheus_client.parser import text_string_to_metric_families  # here: a start must not wait for it

    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError, AttributeError):  # what it raises on text that is no such page
        return
    for family in families:
        for sample in family.samples:
            yield sample.name, sample.labels, float(sample.value)
