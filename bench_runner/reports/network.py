"""What the network explains, in lines for a terminal, with the arithmetic."""

from __future__ import annotations

from rich.text import Text

from tokenmark_schemas.network import Network, NetworkShare

from .units import seconds

LEAST = 0.001
NAMES = {"round_trip": "round trip", "request": "request", "window": "window", "queue": "queue", "loss": "loss"}


def network_lines(network: Network | None) -> list[Text]:
    """Nothing where nobody asked."""
    if network is None:
        return []
    if network.missing:
        return [Text.assemble(("network   ", "bold"), ("unknown", "bold yellow"), f"  {network.missing}")]
    there = network.target_node or "where its connections end"
    lines = [
        Text.assemble(("network   ", "bold"), f"{network.source_node} to {there} ({network.path}), {network.probe}")
    ]
    for share in network.shares:
        lines += _share(share)
    styles = {"degraded": "yellow", "invalid": "bold red"}
    if network.verdict in styles:
        lines += [
            Text(f"  · probe {network.verdict}: {reason}", style=styles[network.verdict])
            for reason in network.reasons[:3]
        ]
    return lines


def _share(share: NetworkShare) -> list[Text]:
    title = f"  {share.stage} {share.metric.upper()}"
    if share.network_s is None or share.ratio is None:
        return [Text(f"{title}  unknown: {share.note}")]
    most = "at least " if share.at_least else ""
    bounds = f"{_percent(share.ratio_low)} to {_percent(share.ratio_high)}"
    told = seconds(share.network_s) if share.network_s else "0"
    first = f"{title}  {most}{told} of a mean of {seconds(share.mean_s)}: {_percent(share.ratio)} ({bounds})"
    terms = [f"{NAMES[term.name]} {seconds(term.value_s)}" for term in share.terms if term.value_s]
    lines = [Text(first), *([Text(f"    = {' + '.join(terms)}", style="dim")] if terms else [])]
    return [*lines, *([Text(f"    {share.note}", style="yellow")] if share.note else [])]


def _percent(ratio: float | None) -> str:
    if ratio is None:
        return "–"
    if 0 < ratio < LEAST:
        return f"< {100 * LEAST:.1f} %"
    return f"{100 * ratio:.1f} %" if 0 < ratio < 0.1 else f"{100 * ratio:.0f} %"
