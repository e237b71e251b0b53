"""Without what only Linux has: the same worker on `selectors` with the times of its own reads, and it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accuracy.test_simulator import truths
from tests.accuracy.test_truth import rows, run, simulator


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMARK_STAMPS", "user")


@pytest.mark.parametrize("load", [("--concurrency", "8", "--requests", "80"), ("--rate", "40", "--duration", "2")])
def test_user_stamps_are_said_and_no_worse_than_late_reads_make_them(tmp_path: Path, load: tuple[str, ...]) -> None:
    with simulator(tmp_path, "--ttft-ms", "40", "--itl-ms", "5") as (url, truth):
        result = run(url, tmp_path, *load, "--max-output-tokens", "10", "--warmup-requests", "0")
        sent = truths(truth)
    assert result["provenance"]["stamps"] == "user"
    assert "user_stamps" in {reason["code"] for reason in result["verdict"]["reasons"]}
    stage = result["stages"][0]
    assert stage["requests"]["succeeded"] == 80
    assert stage["client"]["stamp_fallbacks"] > 0
    errors = sorted(abs(r["content_ns"][0] - sent[r["id"]]["sent_ns"][0]) for r in rows(tmp_path))
    assert errors[40] < 3_000_000
    assert all(
        seen >= true
        for r in rows(tmp_path)
        for seen, true in zip(r["content_ns"], sent[r["id"]]["sent_ns"], strict=True)
    )
