"""What the network explains, in lines for a terminal, with the arithmetic."""

from __future__ import annotations

from rich.text import Text

from tokenmark_schemas.network import Network, NetworkShare

from .units import seconds

NAMES = {"round_trip": "round trip", "request": "request", "window": "window", "queue": "queue", "loss": "loss"}


def network_lines(network: Network | None) -> list[Text]:
    """Nothing where nobody asked."""
    if network is None:
        return []
    if network.missing:
        return [Text.assemble(("network   ", "bold"), ("unknown", "bold yellow"), f"  {network.missing}")]
    way = f"{network.source_node} to {network.target_node or 'whoever ends the connections'}"
    verdict = "" if network.verdict == "valid" else f", {network.verdict}"
    lines = [Text.assemble(("network   ", "bold"), f"{way} ({network.path}, {network.probe}{verdict})")]
    for share in network.shares:
        lines += _share(share)
    return lines


def _share(share: NetworkShare) -> list[Text]:
    title = f"  {share.stage} {share.metric.upper()}"
    if share.network_s is None or share.ratio is None:
        return [Text(f"{title}  unknown: {share.note}")]
    most = "at least " if share.at_least else ""
    bounds = f"{_percent(share.ratio_low)} to {_percent(share.ratio_high)}"
    first = f"{title}  {most}{seconds(share.network_s)} of a mean of {seconds(share.mean_s)}: {_percent(share.ratio)} ({bounds})"
    terms = [f"{NAMES[term.name]} {seconds(term.value_s)}" for term in share.terms if term.value_s]
    lines = [Text(first), *([Text(f"    = {' + '.join(terms)}", style="dim")] if terms else [])]
    return [*lines, *([Text(f"    {share.note}", style="yellow")] if share.note else [])]


def _percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{100 * ratio:.1f} %" if ratio < 0.1 else f"{100 * ratio:.0f} %"
