"""What a person asks of an engine before a load, by the command line, of a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def asked_before_a_load(folder: Path, engine: str, url: str, model: str) -> dict[str, Any]:
    """Every verb once; each has to end with 0. Documents by verb."""
    (folder / "engines.yaml").write_text(
        json.dumps(
            {"schemaVersion": "engines/v1", "engines": [{"name": "it", "engine": engine, "url": url, "model": model}]}
        )
    )
    return {
        "health": _said(folder, "engines", "health", "it", "--format", "json")[0],
        "info": _said(folder, "engines", "info", "it", "--format", "json"),
        "models": _said(folder, "models", "list", "--engine", "it", "--format", "json")[0]["models"],
        "request": _said(folder, "test-request", "it", "--max-output-tokens", "8", "--show", "json"),
        "whole": _said(folder, "test-request", "it", "--max-output-tokens", "8", "--no-stream", "--show", "json"),
        "doctor": {check["name"]: check for check in _said(folder, "doctor", "it", "--format", "json")},
    }


def _said(folder: Path, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "bench_runner", *words, "--engines", str(folder / "engines.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)
