"""Runs on a database, by hand, from a manifest."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.accuracy.test_truth import CLI, PAUSES_S, disturbed
from tests.support.manifests import manifest

RECORDS = {"count": 2000, "dimensions": 32, "queries": 64, "categories": 4}
C1 = [{"name": "c1", "concurrency": 1, "durationSeconds": 2}]


def spec_of(engine: str, url: str, operations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    records = more.pop("records", RECORDS)
    return {
        "target": {"engine": engine, "endpoint": {"url": url}},
        "workload": {"dataset": {"records": records}, "operations": operations},
        "stages": C1, "warmup": {"requestCount": 20, "durationSeconds": 0}, "repetitions": 1, **more,
    }  # fmt: skip


def words_of(folder: Path, spec: dict[str, Any], name: str = "t") -> list[str]:
    return [
        *CLI,
        "run",
        str(manifest(folder, spec, name)),
        "--out",
        str(folder),
        "--name",
        name,
        "--format",
        "json",
        "--quiet",
    ]


def run(folder: Path, spec: dict[str, Any], code: int | None = 0) -> tuple[dict[str, Any], str]:
    """(result, what was said). Client and database share the machine here: that a run is not valid because of its neighbours
    alone keeps nothing but its times from being judged, which is what `healthy` is for. A code of None takes any verdict."""
    done = subprocess.run(words_of(folder, spec), capture_output=True, text=True, check=False, timeout=180)
    result = json.loads(done.stdout) if done.stdout else {}
    excused = (done.returncode == 4 and code == 0 and disturbed(result)) or (code is None and done.returncode in (0, 4))
    assert excused or done.returncode == code, f"exit code {done.returncode}: {done.stderr}{done.stdout[:1500]}"
    return result, done.stderr


def healthy(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """A run that has to be valid; one that was disturbed gets further chances."""
    for pause_s in PAUSES_S:
        time.sleep(pause_s)
        result, _ = run(folder, spec)
        if not disturbed(result):
            break
    assert (result["verdict"]["state"], result["verdict"]["reasons"]) == ("valid", [])
    return result


def calls(folder: Path) -> list[dict[str, Any]]:
    """The request log."""
    return [
        json.loads(line) for line in gzip.decompress((folder / "t" / "requests.jsonl.gz").read_bytes()).splitlines()
    ]


def found(result: dict[str, Any]) -> dict[str, Any]:
    """Operation -> its result, of the first stage."""
    return {each["name"]: each for each in result["stages"][0]["operations"]}
