"""The report in a real browser, from a file and without a network: every number is the result's, at three widths, light and dark."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from bench_runner.reports.page.figures import FORMATS, resolve
from tests.cluster.layout import TREE
from tests.support.axe import axe_source
from tests.support.pages import WIDTHS, chromium, opened
from tests.support.serving import simulated

PRICES = TREE / "deploy" / "cost" / "cost-config.example.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real runs of two loads with an objective, a price, errors, and their reports."""
    made = tmp_path_factory.mktemp("report")
    (made / "s.yaml").write_text("ttft_ms: 10\nttft_jitter_ms: 5\nitl_ms: 1\njitter_ms: 1\nerror_share: 0.02\n")
    with simulated("--scenario", str(made / "s.yaml")) as url:
        for name in ("one", "two"):
            words = ["run", "--engine", "openai", "--target", url, "--model", "sim", "--concurrency", "2,8", "--requests", "150", "--repetitions", "2",
                     "--max-output-tokens", "16", "--out", str(made), "--name", name, "--quiet", "--objective", "ttft:p95<=40ms",
                     "--provider", "laptop", "--cost", str(PRICES)]  # fmt: skip
            subprocess.run([sys.executable, "-m", "bench_runner", *words], capture_output=True, check=False)
    reported(made, "report-one", "one")
    reported(made, "report-two", "one", "two")
    return made


def reported(folder: Path, out: str, *names: str) -> None:
    words = [
        sys.executable,
        "-m",
        "bench_runner",
        "report",
        *(str(folder / name) for name in names),
        "--out",
        str(folder / out),
    ]
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def document(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name / "result.json").read_text())
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("report", "names"), [("report-one", ("one",)), ("report-two", ("one", "two"))])
def test_every_number_is_the_results(
    browser: Browser, folder: Path, report: str, names: tuple[str, ...], width: int
) -> None:
    page, said = opened(browser, folder / report / "report.html", width)
    shown = page.evaluate(
        "[...document.querySelectorAll('[data-path]')].map(e => [e.dataset.path, e.dataset.kind, +e.dataset.run, e.textContent])"
    )
    documents = [document(folder, name) for name in names]
    wrong = [row for row in shown if FORMATS[row[1]](resolve(documents[row[2]], row[0])) != row[3]]
    assert wrong == []
    assert len(shown) > 100 * len(names)
    assert said == [], "the console is clean and nothing is fetched"
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (
        "the page itself does not scroll sideways"
    )
    page.close()


def test_markdown_and_files_hold_the_same_numbers(folder: Path) -> None:
    found, text = document(folder, "one"), (folder / "report-one" / "report.md").read_text()
    for stage in found["stages"]:
        for metric, name in (("ttft", "p50"), ("tpot", "p50"), ("e2e", "p95")):
            assert FORMATS["seconds"](stage["metrics"][metric][name]) in text
    kind, count = next(iter(found["stages"][1]["requests"]["errors"].items()))
    assert f"| c8 | {kind} | {count} |" in text
    summary = json.loads((folder / "report-one" / "summary.json").read_text())
    assert summary["stages"][1]["metrics"] == found["stages"][1]["metrics"]
    rows = [line.split(",") for line in (folder / "report-one" / "metrics.csv").read_text().splitlines()]
    row = next(row for row in rows if row[1:3] == ["c8", "ttft"])
    assert float(row[rows[0].index("p50")]) == found["stages"][1]["metrics"]["ttft"]["p50"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(browser: Browser, folder: Path, scheme: str) -> None:
    page, _ = opened(browser, folder / "report-two" / "report.html", scheme=scheme)
    page.evaluate(axe_source())
    found = page.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 120)]))"
    )
    assert [v for v in found if v[1] in ("serious", "critical")] == []
    page.close()


def test_tables_sort_and_filter_by_keyboard(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "report-two" / "report.html")
    table = "#run0-latency"
    page.focus(f"{table} thead th:nth-child(3) button")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    values = page.evaluate(f"[...document.querySelectorAll('{table} tbody tr')].map(r => +r.children[2].dataset.sort)")
    assert values == sorted(values, reverse=True)
    page.fill("#run0-work .filter", "warmup")
    left = page.evaluate(
        "[...document.querySelectorAll('#run0-work tbody tr')].filter(r => !r.hidden).map(r => r.textContent)"
    )
    assert left
    assert all("warmup" in row for row in left)
    page.close()


def test_it_prints_without_what_only_a_screen_needs(browser: Browser, folder: Path) -> None:
    page, _ = opened(browser, folder / "report-one" / "report.html")
    page.emulate_media(media="print")
    assert not page.is_visible("nav")
    assert page.is_visible("#verdict table")
    page.close()


def test_a_million_requests_open_within_a_second_in_half_a_megabyte(browser: Browser, folder: Path) -> None:
    big = folder / "big"
    big.mkdir()
    found = document(folder, "one")
    (big / "result.json").write_text(json.dumps(found))
    rng = random.Random(1)
    with gzip.open(big / "requests.jsonl.gz", "wb", compresslevel=1) as file:
        for part in range(100):
            lines = []
            for n in range(10_000):
                sent = (part * 10_000 + n) * 100_000
                first = sent + int(rng.lognormvariate(16, 0.3))
                lines.append(
                    f'{{"stage":"c{(2, 8)[n % 2]}","sent_ns":{sent},"content_ns":[{first},{first + 15_000_000}],"output_tokens":16,"error":null}}'
                )
            file.write(("\n".join(lines) + "\n").encode())
    reported(folder, "report-big", "big")
    path = folder / "report-big" / "report.html"
    assert path.stat().st_size < 500_000
    began = time.monotonic()
    page, said = opened(browser, path)
    took = time.monotonic() - began
    assert said == []
    assert took < 3, f"{took:.1f} s; a second where the machine is free"
    page.close()


def test_a_report_that_cannot_be_written_says_so(folder: Path) -> None:
    words = [sys.executable, "-m", "bench_runner", "report", str(folder / "one"), "--out", "/proc/x"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "--out /proc/x" in done.stderr
