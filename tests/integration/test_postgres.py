"""Engine postgres on a real PostgreSQL with pgvector: times against known ones, recall, and what is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench_runner.pipelines.embedded import postgres_beside
from bench_runner.reports.page.curves import curves_of
from tests.accuracy.test_truth import CLI
from tests.support.databases import calls, found, healthy, run, spec_of, words_of
from tokenmark_schemas.result import RunResult

READ = {"name": "read", "kind": "PointRead"}
SEARCH = {"name": "search", "kind": "Search", "k": 10}
FILTERED = {"name": "filtered", "kind": "FilteredSearch", "k": 10}
SLEEP_S = 0.02
SLEEP = {"name": "sleep", "kind": "Statement", "statement": f"select pg_sleep({SLEEP_S})"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_beside() as url:
        yield url


def asked(url: str, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    with psycopg.connect(f"{url}/{database}", user="postgres", autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def databases(url: str) -> set[str]:
    return {name for (name,) in asked(url, "select datname from pg_database")}


@pytest.fixture(autouse=True)
def _leaves_nothing(server: str) -> Iterator[None]:
    before = databases(server)
    yield
    assert databases(server) == before


@pytest.mark.parametrize(
    "stage",
    [
        {"name": "c2", "concurrency": 2, "durationSeconds": 4},
        {"name": "r20", "requestRate": "40", "durationSeconds": 4},
    ],
    ids=["closed", "open"],
)
def test_a_statement_of_known_length_takes_that_long(server: str, stage: dict[str, Any], tmp_path: Path) -> None:
    result = healthy(tmp_path, spec_of("postgres", server, [SLEEP], stages=[stage]))
    assert result["provenance"]["stamps"] == "kernel"
    (measured,) = result["stages"]
    assert measured["metrics"]["e2e"]["min"] >= SLEEP_S
    assert measured["metrics"]["e2e"]["p50"] == pytest.approx(SLEEP_S, abs=0.0015)
    assert measured["requests"]["errors"] == {}
    expected = 2 / SLEEP_S if stage["name"] == "c2" else 40
    assert measured["throughput"]["requests_per_s"] == pytest.approx(expected, rel=0.08)
    for absent in ("ttft", "tpot", "itl", "stream_close"):
        assert measured["metrics"][absent]["count"] == 0
    assert measured["throughput"]["output_tokens_per_s"] is None
    assert {each["operation"] for each in calls(tmp_path)} == {"sleep"}


def test_an_open_loop_goes_by_its_own_times_where_the_pool_is_too_small(server: str, tmp_path: Path) -> None:
    """Two connections can do a hundred of these a second; at 150 due, what waits for one is in the scheduled time alone."""
    stage = {"name": "r150", "requestRate": "150", "durationSeconds": 3}
    result, _ = run(tmp_path, spec_of("postgres", server, [SLEEP], stages=[stage], database={"connections": 2}))
    (measured,) = result["stages"]
    assert measured["requests"]["due"] == 450
    assert measured["metrics"]["e2e"]["p50"] == pytest.approx(SLEEP_S, abs=0.0015)
    assert measured["metrics"]["e2e_scheduled"]["max"] > 1.0
    assert measured["client"]["send_lag"]["p50"] < 0.001


def test_the_pool_is_as_large_as_the_concurrency(server: str, tmp_path: Path) -> None:
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            ((count,),) = asked(
                server,
                "select count(*) from pg_stat_activity where application_name like 'tokenmark_%' and query like '%pg_sleep%'",
            )
            seen.append(count)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        run(
            tmp_path,
            spec_of("postgres", server, [SLEEP], stages=[{"name": "c7", "concurrency": 7, "durationSeconds": 2}]),
        )
    finally:
        over.set()
        watcher.join()
    assert max(seen) == 7


def test_without_an_index_every_search_finds_all_and_with_one_recall_has_its_price(server: str, tmp_path: Path) -> None:
    records = {"count": 5000, "dimensions": 64, "queries": 100, "categories": 10}
    ways = {
        "flat": {"kind": "Flat"},
        "narrow": {"m": 4, "efConstruction": 8, "efSearch": 10},
        "wide": {"m": 24, "efConstruction": 200, "efSearch": 400},
    }
    recall, p50 = {}, {}
    for name, index in ways.items():
        (tmp_path / name).mkdir()
        spec = spec_of("postgres", server, [SEARCH, FILTERED], records=records, database={"index": index})
        result, _ = run(tmp_path / name, spec)
        measured = found(result)
        recall[name] = measured["search"]["recall"]["mean"]
        p50[name] = measured["search"]["e2e"]["p50"]
        if name == "flat":
            assert measured["filtered"]["recall"]["mean"] == 1.0
            assert result["database"]["index_s"] is None
        else:
            assert result["database"]["index_bytes"] > 0
            assert result["database"]["index_s"] > 0
    assert recall["flat"] == 1.0
    assert recall["narrow"] < recall["wide"] - 0.02
    assert recall["wide"] >= 0.99
    assert p50["narrow"] < p50["flat"]


def test_reads_and_writes_by_weight(server: str, tmp_path: Path) -> None:
    mixed = [{**READ, "weight": 8}, {"name": "update", "kind": "Update"}, {"name": "insert", "kind": "Insert"}]
    result, _ = run(tmp_path, spec_of("postgres", server, mixed, records={"count": 3000}))
    measured = found(result)
    total = sum(each["e2e"]["count"] for each in measured.values())
    assert 0.77 < measured["read"]["e2e"]["count"] / total < 0.83
    assert [each["failed"] for each in measured.values()] == [0, 0, 0]
    assert result["stages"][0]["repetitions"][0]["searches"] == 0
    (drawn,) = curves_of(RunResult.model_validate(result), tmp_path / "t" / "requests.jsonl.gz")
    assert drawn["percentiles"]["ttft"]["value"] == [], "a call has no first token, in no chart either"
    assert len(drawn["histograms"]["e2e"]["count"]) > 10
    assert drawn["moments"]["middle"]
    words = [*CLI, "translate", str(tmp_path / "t")]
    assert (
        "calls to a database" in subprocess.run(words, capture_output=True, text=True, check=False, timeout=30).stderr
    )


def test_what_the_server_refuses_is_counted_with_its_words(server: str, tmp_path: Path) -> None:
    half = {"name": "half", "kind": "Statement", "statement": "select 1 / ($1::bigint % 10)", "parameters": ["Id"]}
    result, _ = run(tmp_path, spec_of("postgres", server, [half]))
    requests = result["stages"][0]["requests"]
    assert 5 < requests["errors"]["server_error"] < 25, "a client that fails rests for a moment"
    assert "division by zero" in requests["error_messages"]["server_error"]
    assert found(result)["half"]["failed"] == requests["failed"]


def test_a_statement_that_is_none_is_said_before_any_load(server: str, tmp_path: Path) -> None:
    wrong = {"name": "wrong", "kind": "Statement", "statement": "selekt 1"}
    _, said = run(tmp_path, spec_of("postgres", server, [wrong]), code=5)
    assert "operation wrong" in said
    assert "syntax error" in said


def test_connections_that_end_under_load_are_counted_and_opened_again(server: str, tmp_path: Path) -> None:
    stage = {"name": "c4", "concurrency": 4, "durationSeconds": 4}
    with subprocess.Popen(
        words_of(tmp_path, spec_of("postgres", server, [SLEEP], stages=[stage])), stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(3)
        asked(
            server,
            "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()",
        )
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
    requests = result["stages"][0]["requests"]
    assert 1 <= requests["errors"]["disconnected"] <= 8
    assert "terminating connection" in requests["error_messages"]["disconnected"]
    assert requests["succeeded"] > 400, "the rest of the stage was measured"


def test_a_pool_that_the_server_does_not_grant_is_an_error_by_its_words(server: str, tmp_path: Path) -> None:
    stage = {"name": "c300", "concurrency": 300, "durationSeconds": 2}
    result, _ = run(
        tmp_path,
        spec_of("postgres", server, [SLEEP], stages=[stage], warmup={"requestCount": 0, "durationSeconds": 0}),
        code=None,  # invalid or degraded: what share of the calls failed is a matter of how long a refusal takes
    )
    assert "errors" in {reason["code"] for reason in result["verdict"]["reasons"]}
    requests = result["stages"][0]["requests"]
    assert "too many clients" in requests["error_messages"]["connect"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(server: str, how: signal.Signals, tmp_path: Path) -> None:
    stage = {"name": "c2", "concurrency": 2, "durationSeconds": 60}
    with subprocess.Popen(
        words_of(tmp_path, spec_of("postgres", server, [READ], stages=[stage])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        time.sleep(3.5)
        assert ours(server)
        process.send_signal(how)
        process.wait(20)
    assert json.loads((tmp_path / "t" / "result.json").read_text())["run"]["interrupted"]


def ours(server: str) -> set[str]:
    return {name for name in databases(server) if name.startswith("tokenmark_")}


def test_what_a_killed_run_left_is_dropped_by_the_next_one_and_a_running_ones_is_not(
    server: str, tmp_path: Path
) -> None:
    """Also in a database that was told by name, where it is a schema."""
    asked(server, "create database shop")
    stage = {"name": "c1", "concurrency": 1, "durationSeconds": 60}
    long = spec_of("postgres", server, [READ], stages=[stage], records={"count": 100})
    try:
        for where in ({}, {"database": {"name": "shop"}}):
            home = "shop" if where else "postgres"
            kind = "nspname from pg_namespace where nspname" if where else "datname from pg_database where datname"
            seen = f"select {kind} like 'tokenmark%'"
            with subprocess.Popen(words_of(tmp_path, {**long, **where}, "killed"), stdout=subprocess.DEVNULL) as killed:
                _until(lambda seen=seen, home=home: len(asked(server, seen, home)) == 1)
                killed.kill()
            with subprocess.Popen(
                words_of(tmp_path, {**long, **where}, "goes-on"), stdout=subprocess.DEVNULL
            ) as goes_on:
                _until(lambda seen=seen, home=home: "goes_on" in str(asked(server, seen, home)))
                assert len(asked(server, seen, home)) == 1, "the killed one's is gone"
                run(tmp_path, spec_of("postgres", server, [READ], records={"count": 100}, **where))
                assert "goes_on" in str(asked(server, seen, home)), "the running one's is still there"
                goes_on.send_signal(signal.SIGTERM)
                goes_on.wait(20)
            assert not asked(server, seen, home)
    finally:
        asked(server, "drop database shop with (force)")


def _until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_in_a_database_told_by_name_everything_stays_in_one_schema(server: str, tmp_path: Path) -> None:
    asked(server, "create database shop")
    try:
        asked(server, "create table records (id bigint primary key, mine text)", "shop")
        asked(server, "insert into records values (1, 'mine')", "shop")
        _, said = run(tmp_path, spec_of("postgres", server, [SEARCH], database={"name": "shop"}), code=5)
        assert "has no extension vector, and a run adds none" in said
        asked(server, "create extension vector", "shop")
        own = {"name": "own", "kind": "Statement", "statement": "select mine from public.records where id = 1"}
        result, _ = run(tmp_path, spec_of("postgres", server, [SEARCH, READ, own], database={"name": "shop"}))
        assert [each["failed"] for each in found(result).values()] == [0, 0, 0]
        assert asked(server, "select mine from records", "shop") == [("mine",)]
        assert not asked(server, "select 1 from pg_namespace where nspname like 'tokenmark%'", "shop")
    finally:
        asked(server, "drop database shop")


def test_nobody_there_and_a_wrong_password_are_sentences(tmp_path: Path, server: str) -> None:
    _, said = run(tmp_path, spec_of("postgres", "postgresql://127.0.0.1:9", [READ]), code=5)
    assert "refused" in said
    assert "Traceback" not in said
    asked(server, "create role nologin_here nologin")
    try:
        _, said = run(tmp_path, spec_of("postgres", server, [READ], database={"user": "nologin_here"}), code=5)
        assert "not permitted to log in" in said
    finally:
        asked(server, "drop role nologin_here")


def test_a_recall_objective_and_what_a_comparison_says_of_it(server: str, tmp_path: Path) -> None:
    records = {"count": 5000, "dimensions": 64, "queries": 100}
    objective = [{"metric": "recall", "statistic": "mean", "minPerMille": 980, "onViolation": "Fail"}]
    for name, index, code in (
        ("wide", {"efSearch": 400, "efConstruction": 200}, 0),
        ("narrow", {"m": 4, "efConstruction": 8, "efSearch": 10}, 3),
    ):
        (tmp_path / name).mkdir()
        spec = spec_of(
            "postgres", server, [SEARCH], records=records, database={"index": index}, objectives=objective, repetitions=3,
            stages=[{"name": "c1", "concurrency": 1, "durationSeconds": 2}],
        )  # fmt: skip
        result, _ = run(tmp_path / name, spec, code=code)
        assert result["objectives"][0]["met"] == ("true" if code == 0 else "false")
    words = [
        *CLI,
        "compare",
        str(tmp_path / "wide" / "t"),
        str(tmp_path / "narrow" / "t"),
        "--gate",
        "recall",
        "--format",
        "json",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    lines = {line["metric"]: line for line in json.loads(done.stdout)["lines"]}
    assert lines["recall"]["status"] == "REGRESSED"
    assert lines["recall"]["current"] < lines["recall"]["baseline"]


def test_a_speed_without_its_recall_is_not_compared(server: str, tmp_path: Path) -> None:
    own = {
        "name": "own",
        "kind": "Statement",
        "statement": "select id from records order by embedding <-> $1 limit 5",
        "parameters": ["Vector"],
    }
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        spec = spec_of(
            "postgres", server, [own], repetitions=3, stages=[{"name": "c1", "concurrency": 1, "durationSeconds": 1}]
        )
        result, _ = run(tmp_path / name, spec)
        assert found(result)["own"]["recall"] is None
    words = [*CLI, "compare", str(tmp_path / "a" / "t"), str(tmp_path / "b" / "t")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "speed without recall says nothing" in " ".join(done.stderr.split())


def test_it_is_known_to_be_up_before_a_load(server: str, tmp_path: Path) -> None:
    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*CLI, *words], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)

    file = tmp_path / "engines.yaml"
    engines = [
        {"name": "pg", "engine": "postgres", "url": server},
        {"name": "away", "engine": "postgres", "url": "postgresql://127.0.0.1:9"},
    ]
    file.write_text(json.dumps({"schemaVersion": "engines/v1", "engines": engines}))
    told = {
        each["name"]: each
        for each in json.loads(ask("engines", "health", "--engines", str(file), "--format", "json").stdout)
    }
    assert told["pg"]["up"]
    assert not told["away"]["up"]
    assert "nothing listens there" in told["away"]["said"]
    checks = json.loads(ask("doctor", "pg", "--engines", str(file), "--format", "json").stdout)
    assert checks[0]["state"] == "ok"
    assert "is a database" in ask("test-request", "pg", "--engines", str(file)).stderr


def test_embedded_brings_its_server_and_takes_it_away(tmp_path: Path) -> None:
    words = [
        *CLI,
        "run",
        "--target",
        "embedded",
        "--workload",
        "records-mixed",
        "--concurrency",
        "2",
        "--requests",
        "400",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*words, "--format", "json", "--quiet"], capture_output=True, text=True, check=False, timeout=120
    )
    result = json.loads(done.stdout)
    assert result["provenance"]["engine"]["version"].startswith("16.")
    assert result["database"]["records"] == 100_000
    assert not [
        line
        for line in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if "tokenmark-postgres-" in line
    ]


def test_what_others_read_of_it_has_calls_and_recall_and_no_tokens(server: str, tmp_path: Path) -> None:
    prices = {"microdollarsPerHour": 3_600_000}
    run(tmp_path, spec_of("postgres", server, [{**SEARCH, "weight": 3}, READ], cost={"inline": prices}))

    def told(*words: str) -> str:
        return subprocess.run(
            [*CLI, *words], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
        ).stdout

    rows = {
        (row["metric"], row["statistic"]): row["value"]
        for row in map(json.loads, told("export", "t", "--format", "jsonl").splitlines())
    }
    assert rows["e2e[search]", "count"] + rows["e2e[read]", "count"] == rows["e2e", "count"]
    assert rows["recall[search]", "mean"] > 0.9
    assert ("tokens", "output") not in rows
    page = told("export", "t", "--format", "openmetrics")
    assert "tokenmark_run_recall_ratio{" in page
    assert "tokenmark_run_output_tokens{" not in page
    assert "a thousand requests at c1" in told("show", "t")
    told("report", "t", "t", "--out", "side")
    side = (tmp_path / "side" / "report.md").read_text()
    assert "Calls/s" in side
    assert "TPOT" not in side
