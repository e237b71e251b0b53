"""Engine chroma on a real Chroma: recall, filters, what is left behind, and its words where it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench_runner.pipelines.chroma import found_in
from tests.cluster import fronts
from tests.support.databases import calls, found, run, spec_of, words_of

SEARCH = {"name": "search", "kind": "Search", "k": 5, "weight": 4}
FILTERED = {"name": "filtered", "kind": "FilteredSearch", "k": 5}
READ = {"name": "read", "kind": "PointRead"}
INSERT = {"name": "insert", "kind": "Insert"}
UPDATE = {"name": "update", "kind": "Update"}
PLACE = "/api/v2/tenants/default_tenant/databases"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fronts.chroma(tmp_path_factory.mktemp("chroma")) as url:
        yield url


def asked(url: str, path: str = PLACE, body: Any = None) -> Any:
    request = urllib.request.Request(
        url + path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(autouse=True)
def _leaves_nothing(server: str) -> Iterator[None]:
    before = asked(server)
    yield
    assert asked(server) == before


def test_every_operation_works_and_searches_know_their_recall(server: str, tmp_path: Path) -> None:
    spec = spec_of(
        "chroma",
        server,
        [SEARCH, FILTERED, READ, INSERT, UPDATE],
        stages=[{"name": "c1", "concurrency": 1, "durationSeconds": 5}],
    )
    result, _ = run(tmp_path, spec)
    measured = found(result)
    assert list(measured) == ["search", "filtered", "read", "insert", "update"]
    assert [each["failed"] for each in measured.values()] == [0] * 5
    assert measured["search"]["recall"]["mean"] > 0.9
    assert measured["filtered"]["recall"]["mean"] > 0.9
    assert measured["read"]["recall"] is None
    assert result["database"]["records"] == 2000
    assert result["provenance"]["engine"]["version"]
    assert result["provenance"]["stamps"] == "kernel"
    (stage,) = result["stages"]
    assert stage["metrics"]["ttft"]["count"] == 0
    assert stage["metrics"]["e2e"]["count"] == stage["requests"]["succeeded"] > 100
    logged = calls(tmp_path)
    assert {line["operation"] for line in logged} == set(measured)
    assert all(("recall" in line) == (line["operation"] in ("search", "filtered")) for line in logged)


def test_an_open_loop_asks_as_often_as_it_was_told(server: str, tmp_path: Path) -> None:
    stage = {"name": "r20", "requestRate": "20", "durationSeconds": 4}
    result, _ = run(tmp_path, spec_of("chroma", server, [SEARCH], stages=[stage]))
    assert result["stages"][0]["requests"]["due"] == 80


def test_a_wider_search_finds_more(server: str, tmp_path: Path) -> None:
    records = {"count": 4000, "dimensions": 64, "queries": 64}
    recall = {}
    for name, index in (
        ("narrow", {"m": 2, "efConstruction": 4, "efSearch": 5}),
        ("wide", {"m": 32, "efConstruction": 200, "efSearch": 300}),
    ):
        (tmp_path / name).mkdir()
        result, _ = run(
            tmp_path / name, spec_of("chroma", server, [SEARCH], records=records, database={"index": index})
        )
        recall[name] = found(result)["search"]["recall"]["mean"]
    assert recall["narrow"] < recall["wide"]
    assert recall["wide"] > 0.97


def test_in_a_database_told_by_name_only_its_own_collection_comes_and_goes(server: str, tmp_path: Path) -> None:
    place = f"{PLACE}/default_database/collections"
    mine = asked(server, place, {"name": "records"})["id"]
    result, _ = run(tmp_path, spec_of("chroma", server, [SEARCH], database={"name": "default_database"}))
    assert found(result)["search"]["failed"] == 0
    assert [each["id"] for each in asked(server, place)] == [mine]
    assert asked(server, f"{place}/{mine}/count") == 0


def test_a_run_that_is_stopped_leaves_nothing(server: str, tmp_path: Path) -> None:
    spec = spec_of("chroma", server, [SEARCH], stages=[{"name": "c1", "concurrency": 1, "durationSeconds": 60}])
    with subprocess.Popen(words_of(tmp_path, spec), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 20
        while len(asked(server)) == 1:
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_another_server_and_none_are_sentences(tmp_path: Path, server: str) -> None:
    _, said = run(tmp_path, spec_of("chroma", "http://127.0.0.1:9", [SEARCH]), code=5)
    assert "nothing listens there" in said
    _, said = run(tmp_path, spec_of("chroma", server, [SEARCH], database={"name": "nowhere"}), code=5)
    assert "Database [nowhere] does not exist" in said


def test_the_ids_of_an_answer() -> None:
    assert found_in(b'{"ids": [["7", "12"]], "distances": [[0.1, 0.2]]}') == [7, 12]
    assert found_in(b'{"ids": ["3"], "documents": ["x"]}') == [3]
    assert found_in(b'{"ids": [[]]}') == []
    for wrong in (b"{}", b"[]", b"nothing", b'{"ids": 3}', b'{"ids": [["x"]]}', b'{"ids": [[null]]}'):
        with pytest.raises(ValueError, match=r"."):
            found_in(wrong)
