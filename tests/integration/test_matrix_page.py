"""The page of a matrix in a real browser: three models in three quantisations, read by everybody at three widths."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bench_runner.reports.page.matrix import matrix_page
from tests.support.axe import axe_source
from tests.support.knowing import answered
from tests.support.pages import WIDTHS, chromium, opened
from tests.unit.test_matrix import a_matrix, row
from tokenmark_decisions.recommend import Key, recommendations, warnings
from tokenmark_schemas.matrix import MatrixResult, MatrixRow
from tokenmark_schemas.quality import StageQuality


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def measured() -> tuple[MatrixResult, dict[Key, StageQuality]]:
    """Larger models are slower and better, smaller quantisations faster and worse, one by more than chance; one did not fit."""
    chance, rows, answers = random.Random(3), list[MatrixRow](), dict[Key, StageQuality]()
    for size, model in enumerate(("qwen-0.5b", "llama-3b", "mistral-7b"), start=1):
        for quantization, loss in (("Q4_K_M", 0.02), ("Q8_0", 0.0), ("Q2_K", 0.4)):
            if (size, quantization) == (3, "Q8_0"):
                rows.append(
                    row(
                        model,
                        quantization,
                        "interactive",
                        state="skipped",
                        reason="it would need 9.1 GB, and 7.8 GB are free",
                    )
                )
                continue
            pace = 60 / size * (1 + loss)
            answers[model, quantization] = quality = answered(
                [chance.random() < 0.5 + 0.15 * size - loss for _ in range(100)]
            )
            held = {
                "held_bytes": int(size * 2e9),
                "needed_bytes": int(size * 2.05e9),
                "load_s": float(size),
                "verdict": "valid",
            }
            rows.append(
                row(
                    model,
                    quantization,
                    "interactive",
                    tokens_per_s=pace,
                    tpot_mean_s=1 / pace,
                    ttft_mean_s=size / 10,
                    e2e_mean_s=size * 2.0,
                    rating="good",
                    **held,
                )
            )
            rows.append(
                row(
                    model,
                    quantization,
                    "batch",
                    tokens_per_s=pace,
                    ttft_mean_s=size / 5,
                    per_hour=900 / size,
                    kept=0.97,
                    e2e_mean_s=size * 4.0,
                    rating="good",
                    **held,
                )
            )
            share = quality.accuracy
            rows.append(
                row(
                    model,
                    quantization,
                    "quality",
                    accuracy=share,
                    accuracy_ci95=quality.ci95,
                    right=quality.right,
                    asked=100,
                    kinds=quality.kinds,
                    **held,
                )
            )
    result = a_matrix(rows)
    uses = {"batch": "Documents are worked through."}
    said = {"uses": uses, "recommendations": recommendations(rows, answers), "warnings": warnings(rows, answers)}
    return result.model_copy(update=said), answers


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("matrix") / "report.html"
    path.write_text(matrix_page(*measured()))
    return path


@pytest.mark.parametrize("width", WIDTHS)
def test_it_says_what_to_choose_and_does_not_scroll_sideways(browser: Browser, page_file: Path, width: int) -> None:
    page, said = opened(browser, page_file, width)
    assert said == [], "no error, and nothing from a network"
    assert page.locator("#choice tbody tr").count() >= 4
    assert "avoid " in page.locator("#choice").inner_text()
    assert "Documents are worked through." in page.locator("#use-batch").inner_text()
    assert "it would need 9.1 GB" in page.locator("#gaps").inner_text()
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    page.close()


def test_the_best_of_a_table_is_the_darkest(browser: Browser, page_file: Path) -> None:
    page, _ = opened(browser, page_file)
    cells = page.locator("#use-interactive table").first.locator("td[data-sort]")
    found = sorted(
        (
            float(cell.get_attribute("data-sort") or 0),
            cell.get_attribute("style") or "",
            cell.evaluate("e => getComputedStyle(e).backgroundColor"),
        )
        for cell in cells.all()
    )
    heats = [int(style.removeprefix("--heat:").removesuffix("%")) for _, style, _ in found]
    assert heats == sorted(heats)
    assert (len(found), heats[-1]) == (8, 100)
    assert len({shade for _, _, shade in found}) == len(set(heats)) >= 6
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(browser: Browser, page_file: Path, scheme: str) -> None:
    page, _ = opened(browser, page_file, scheme=scheme)
    page.evaluate(axe_source())
    found = page.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 160)]))"
    )
    assert [v for v in found if v[1] in ("serious", "critical")] == []
    page.close()
