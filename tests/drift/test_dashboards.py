"""Dashboards as a reader of their JSON sees them: nothing overlaps, nothing is unexplained, every question leads on."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).parents[2]
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((TREE / "grafana" / "dashboards").glob("*.json"))}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_fill_their_lines_and_none_overlaps(name: str) -> None:
    lines: dict[int, list[dict[str, int]]] = {}
    for panel in BOARDS[name]["panels"]:
        lines.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
    for places in lines.values():
        assert sum(place["w"] for place in places) == 24, places
        assert all(a["x"] + a["w"] == b["x"] for a, b in pairwise(places)), places
        assert len({place["h"] for place in places}) == 1, places
    ordered = sorted((y, places[0]["h"]) for y, places in lines.items())
    assert all(y + height == below for (y, height), (below, _) in pairwise(ordered)), ordered


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_means_and_why_it_may_be_empty(name: str) -> None:
    for panel in panels(BOARDS[name]):
        defaults = panel["fieldConfig"]["defaults"]
        assert len(panel.get("description", "")) > 2, panel["title"]
        assert len(defaults.get("noValue", "")) > 10, panel["title"]
        assert panel["type"] in ("table", "xychart") or defaults.get("unit"), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_leads_to_the_others_and_has_one_identity(name: str) -> None:
    board = BOARDS[name]
    assert board["links"][0]["tags"] == ["tokenmark"]
    assert "tokenmark" in board["tags"]
    assert board["uid"].startswith("tokenmark-")
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_identities_differ() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 9


@pytest.mark.parametrize("name", BOARDS)
def test_a_variable_for_many_takes_series_without_the_label(name: str) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable.get("multi"):
            assert (variable["includeAll"], variable["allValue"]) == (True, ".*"), variable["name"]
