"""Every dashboard by Grafana's own schema and in Grafana's own code: each panel has finite figures, or stands in a list with its
reason; what is wrong on purpose is seen to be wrong."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.tools import program
from tests.dashboards import scenes
from tests.dashboards.exhibits import LOOKS, PROVIDERS, Stand, exhibition
from tests.dashboards.scenes import BOARDS, Gallery, gallery

NAMES = sorted(path.stem for path in BOARDS.glob("*.json"))
# panel -> why it has no figure in the exhibition
WITHOUT = {
    ("run", "What it was"): "labels, no figures",
    ("run", "Requests in flight"): "the run that is looked at is over",
    ("run", "Output tokens per second so far"): "the run that is looked at is over",
    ("run", "Answers so far"): "the run that is looked at is over",
    ("run", "Time left"): "the run that is looked at is over",
    ("run", "Steps before the first token"): "the run that is looked at is of no pipeline",
    ("run-against-baseline", "Both"): "labels, no figures",
    ("provider-comparison", "Not compared, and what differs"): "labels, no figures",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stand, Gallery]]:
    with exhibition(tmp_path_factory.mktemp("exhibition")) as (stand, address), gallery(address) as browser:
        time.sleep(12)  # rates need two scrapes and a window
        yield stand, browser


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BOARDS / f"{name}.json").read_text())
    return found


def test_grafanas_own_schema_takes_every_dashboard() -> None:
    done = subprocess.run(
        [program("dashcheck"), *sorted(BOARDS.glob("*.json"))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "change", [{"style": "dark"}, {"refresh": 5}, {"panels": [{"type": "stat", "fieldConfg": {}}]}]
)
def test_grafanas_own_schema_refuses_what_is_wrong(change: dict[str, Any], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**document("gpu"), **change}))
    done = subprocess.run([program("dashcheck"), wrong], capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stdout.strip())) == (1, True)


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_has_figures_or_a_reason(name: str, shown: tuple[Stand, Gallery]) -> None:
    report = shown[1].look(name, since="now-1m", **LOOKS.get(name, {}))
    assert [panel["error"] for panel in report["panels"] if panel["error"]] == []
    bare = [
        panel["title"]
        for panel in report["panels"]
        if not (panel["frames"] and panel["finite"]) and (name, panel["title"]) not in WITHOUT
    ]
    assert bare == [], report["asked"]
    assert [v["name"] for v in report["variables"] if v["value"] in ("", None, [])] == []


def test_a_list_of_reasons_names_panels_that_are_there() -> None:
    titles = {(name, panel["title"]) for name in NAMES for panel in document(name)["panels"]}
    assert set(WITHOUT) - titles == set()


def test_the_front_page_shows_what_was_measured(shown: tuple[Stand, Gallery]) -> None:
    stand, browser = shown
    report = browser.look("provider-comparison", since="now-1m", stage="c4")
    panels = {panel["title"]: panel for panel in report["panels"]}
    stages = {
        provider: next(s for s in run["status"]["summary"] if s["stage"] == "c4")
        for provider in PROVIDERS
        for run in stand.objects
        if run["metadata"]["name"] == f"chat-{provider}-1-4-16"
    }
    for title, figure in (
        ("TTFT p50", lambda stage: stage["ttftMicroseconds"]["p50"] / 1e6),
        ("TPOT p50", lambda stage: stage["tpotMicroseconds"]["p50"] / 1e6),
        ("Cost of a million output tokens", lambda stage: stage["costMicrosPerMillionOutputTokens"] / 1e6),
        ("Output tokens per second", lambda stage: stage["outputTokensPerSecondMilli"] / 1e3),
    ):
        found = {bar["name"]: bar["value"] for bar in panels[title]["shown"]}
        assert found == pytest.approx({provider: figure(stage) for provider, stage in stages.items()}), title
    assert (panels["Providers"]["latest"], panels["Runs"]["latest"], panels["Left out"]["latest"]) == (3, 3, 1)
    assert panels["Not compared, and what differs"]["rows"] == 3, (
        "other work, a verdict that does not stand, one under way"
    )


def test_a_run_under_way_is_the_first_to_be_seen(shown: tuple[Stand, Gallery]) -> None:
    report = shown[1].look("run", since="now-1m")
    assert next(v["value"] for v in report["variables"] if v["name"] == "run") == "chat-live"
    panels = {panel["title"]: panel for panel in report["panels"]}
    assert (panels["Requests in flight"]["latest"], panels["Time left"]["latest"]) == (8, 41)


@pytest.mark.parametrize(
    ("panel", "seen"),
    [
        ({"targets": [{"expr": "no_such_metric", "refId": "A"}]}, {"state": "Done", "frames": 0}),
        ({"targets": [{"expr": "up{", "refId": "A"}]}, {"state": "Error"}),
    ],
)
def test_a_panel_that_is_wrong_is_seen_to_be_wrong(
    panel: dict[str, Any],
    seen: dict[str, Any],
    shown: tuple[Stand, Gallery],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = document("gpu")
    board["panels"][1].update(panel)
    (tmp_path / "wrong.json").write_text(json.dumps(board))
    monkeypatch.setattr(scenes, "BOARDS", tmp_path)
    first = shown[1].look("wrong", since="now-1m")["panels"][0]
    assert {key: first[key] for key in seen} == seen


@pytest.mark.skipif(
    "GRAFANA_URL" not in os.environ,
    reason="no Grafana at hand: set GRAFANA_URL, GRAFANA_TOKEN and GRAFANA_DATASOURCE (uid)",
)
@pytest.mark.parametrize("name", NAMES)
def test_a_real_grafana_loads_and_queries_it(name: str) -> None:
    """Queries need data behind that data source; without it this says that every query is understood."""
    board = document(name)
    saved = grafana(
        "/api/dashboards/db", {"dashboard": {**board, "id": None}, "overwrite": True, "message": "tokenmark's tests"}
    )
    assert saved["status"] == "success"
    source = {"type": "prometheus", "uid": os.environ["GRAFANA_DATASOURCE"]}
    for panel in board["panels"]:
        for target in panel.get("targets") or []:
            expr = target["expr"]
            for variable in board["templating"]["list"]:
                expr = expr.replace(f"${variable['name']}", ".*")
            query = {**target, "expr": expr, "datasource": source, "intervalMs": 15_000, "maxDataPoints": 300}
            answer = grafana("/api/ds/query", {"queries": [query], "from": "now-1h", "to": "now"})
            assert not answer["results"][target["refId"]].get("error"), (panel["title"], answer)


def grafana(path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('GRAFANA_TOKEN', '')}"}
    request = urllib.request.Request(os.environ["GRAFANA_URL"].rstrip("/") + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def test_figures_that_are_shown_are_numbers(shown: tuple[Stand, Gallery]) -> None:
    report = shown[1].look("operator", since="now-1m")
    latest = [panel["latest"] for panel in report["panels"] if panel["latest"] is not None]
    assert latest
    assert all(math.isfinite(value) for value in latest)
