"""Sections and curves -> one HTML file: no network, works from a file, light and dark, prints, reads well aloud."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from .figures import Cell, Figure, Section, Table

ASSETS = files(__package__) / "assets"
CHARTS = {
    "load": "Latency and throughput over load", "pareto": "Speed for a user against yield", "percentiles": "Percentile curves",
    "histograms": "Distributions", "moments": "TTFT, or the whole of a call, over time",
}  # fmt: skip


def page(title: str, verdict: str, subtitle: str, sections: Sequence[Section], data: Sequence[dict[str, Any]]) -> str:
    """`data` are the curves of each run, as `curves` makes them."""
    links = "".join(f'<li><a href="#{section.id}">{html.escape(section.title)}</a></li>' for section in sections)
    body = "".join(_section(section) for section in sections)
    # "</" would end the script; JSON allows the escape
    curves = json.dumps(list(data), separators=(",", ":")).replace("</", "<\\/")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(title)}</title><style>{_asset('uPlot.min.css')}{_asset('style.css')}</style></head>"
        f'<body><a class="skip" href="#main">To the figures</a><header><h1>{html.escape(title)}</h1>'
        f'<p class="badge {html.escape(verdict)}">{html.escape(verdict)}</p><p>{html.escape(subtitle)}</p></header>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main id="main">{body}</main>'
        f'<script type="application/json" id="curves">{curves}</script>'
        f"<script>/* uPlot, MIT licence:\n{_asset('uPlot.LICENSE')}*/\n{_asset('uPlot.iife.min.js')}</script><script>{_asset('page.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _section(section: Section) -> str:
    lines = "".join(f"<p>{_cell(line)}</p>" for line in section.lines)
    code = "".join(
        f'<div class="code"><pre tabindex="0">{html.escape(text)}</pre><button type="button" class="copy">Copy</button></div>'
        for text in section.code
    )
    charts = "".join(
        f'<figure class="chart" data-chart="{name}"><figcaption>{html.escape(CHARTS[name])}</figcaption><div class="plot" role="img" '
        f'aria-label="{html.escape(CHARTS[name])}; the figures stand in the table"></div></figure>'
        for name in section.charts
    )
    tables = "".join(_table(table, section.title) for table in section.tables)
    return f'<section id="{section.id}" aria-labelledby="h-{section.id}"><h2 id="h-{section.id}">{html.escape(section.title)}</h2>{lines}{code}{tables}{charts}</section>'


def _table(table: Table, name: str) -> str:
    named = any(table.heads)
    sortable = named and len(table.rows) > 1
    find = (
        f'<input class="filter" type="search" placeholder="Filter" aria-label="Filter {html.escape(name)}">'
        if named and len(table.rows) > 12
        else ""
    )
    heads = "".join(_head(table, k, sortable=sortable) for k in range(len(table.heads)))
    rows = "".join(
        "<tr>" + "".join(_data(cell, first=k == 0, plain=not named) for k, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    head = f"<thead><tr>{heads}</tr></thead>" if named else ""
    return f'{find}<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(name)}"><table>{caption}{head}<tbody>{rows}</tbody></table></div>'


def _head(table: Table, column: int, *, sortable: bool) -> str:
    """Above numbers, as far right as they are."""
    text = html.escape(table.heads[column])
    number = ' class="n"' if any(_is_number(row[column]) for row in table.rows) else ""
    return f'<th scope="col"{number}>' + (f'<button type="button">{text}</button>' if sortable else text) + "</th>"


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, Figure) and cell.kind not in (None, "text")


def _data(cell: Cell, *, first: bool, plain: bool) -> str:
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    number = ' class="n"' if _is_number(cell) and not plain else ""
    sort = f' data-sort="{cell.sort!r}"' if isinstance(cell, Figure) and cell.sort is not None else ""
    heat = f' style="--heat:{100 * cell.heat:.0f}%"' if isinstance(cell, Figure) and cell.heat is not None else ""
    return f"<{tag}{scope}{number}{sort}{heat}>{_cell(cell)}</{tag}>"


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return html.escape(cell)
    if cell.path is None:
        return html.escape(cell.text)
    return f'<span data-path="{html.escape(cell.path)}" data-kind="{cell.kind}" data-run="{cell.run}">{html.escape(cell.text)}</span>'
