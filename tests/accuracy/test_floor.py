"""The product beside a C client of the same run, against a server in C that logs when it really sent.

A shared machine spoils single runs, so the bound is met if one of three alternating pairs meets it; what must hold
every time (every answer found, nothing invented) is asserted on each. Tighter figures are `make bench`'s.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.rig import Figures, Shape, build, measure

SHAPES = {
    "few streams": Shape(10, 120, 60, 10, 32),
    "many streams": Shape(300, 900, 150, 20, 40),
    "jitter": Shape(100, 600, 80, 10, 32, ("--jitter-ms", "8", "--ttft-jitter-ms", "40")),
    "stalls": Shape(50, 300, 50, 10, 24, ("--stall-ms", "150", "--stall-rate", "0.2", "--stall-at", "5")),
    "in lock step": Shape(200, 800, 50, 20, 24, ("--lockstep",)),
}


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("rig"))


def beside(ours: Figures, floor: Figures) -> list[str]:
    """What the product misses, in words; the margins are for noise, not for the product."""
    limits = [
        ("TTFT error p50", ours.ttft_error_p50, floor.ttft_error_p50 + 0.25),
        ("TTFT error p99", ours.ttft_error_p99, max(2 * floor.ttft_error_p99, floor.ttft_error_p99 + 2.0)),
        ("gap error p99", ours.gap_error_p99, max(2 * floor.gap_error_p99, 0.1)),
    ]
    return [f"{name} {value:.3f} ms, limit {limit:.3f}" for name, value, limit in limits if value > limit]


@pytest.mark.parametrize("name", list(SHAPES))
def test_as_true_as_a_client_in_c(binaries: Path, name: str) -> None:
    shape, missed = SHAPES[name], []
    for _ in range(3):
        floor, ours = measure("C floor", shape, binaries), measure("tokenmark", shape, binaries)
        assert ours.matched == shape.requests
        if not (missed := beside(ours, floor)):
            return
    pytest.fail("; ".join(missed))


@pytest.mark.parametrize(
    ("flags", "share"),
    [
        pytest.param(("--error-rate", "0.2"), 0.8, id="errors"),
        pytest.param(("--abort-rate", "0.3"), 0.7, id="aborts"),
        pytest.param(("--coalesce", "3", "--role-chunk", "1"), 1.0, id="several tokens a write"),
    ],
)
def test_faults_leave_the_other_numbers_true(binaries: Path, flags: tuple[str, ...], share: float) -> None:
    """Failed answers are not compared; the others are as true as ever, in one of three runs on a busy machine."""
    shape, errors = Shape(40, 400, 60, 10, 24, flags), []
    for _ in range(3):
        ours = measure("tokenmark", shape, binaries)
        assert ours.matched == pytest.approx(share * shape.requests, rel=0.15)
        errors.append(ours.ttft_error_p50)
        if errors[-1] < 0.5:
            return
    pytest.fail(f"median TTFT errors {errors} ms")


def test_at_saturation_memory_is_bounded_and_speed_is_near_c(binaries: Path) -> None:
    """Three quarters of a million tokens, every stamp kept in the request log."""
    shape, ratios = Shape(64, 6000, 0, 0, 128), []
    for _ in range(3):
        floor, ours = measure("C floor", shape, binaries), measure("tokenmark", shape, binaries)
        assert ours.matched == shape.requests
        assert ours.rss_mb < 250
        ratios.append(ours.tokens_per_s / floor.tokens_per_s)
        if ratios[-1] > 0.6:
            return
    pytest.fail(f"tokens a second, as a share of the C floor's: {ratios}")
