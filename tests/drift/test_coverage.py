"""The page of what is measured says what the code does: it is generated, and every path leads through the result's model."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from bench_runner.reports.coverage import FIGURES, FILE, Figure, markdown
from bench_runner.samples.metrics import BY_ID
from tests.cluster.layout import TREE
from tokenmark_schemas.result import RunResult


def test_the_page_is_what_the_rows_say() -> None:
    assert (TREE / FILE).read_text() == markdown().rstrip("\n") + "\n", f"{FILE} is stale: make schemas"


def test_there_are_forty_two_figures_each_once() -> None:
    assert len({figure.title for figure in FIGURES}) == len(FIGURES) == 42


@pytest.mark.parametrize("figure", [f for f in FIGURES if f.state == "measured"], ids=lambda f: f.title)
def test_a_measured_figure_stands_in_the_result(figure: Figure) -> None:
    model: Any = RunResult
    parts = figure.where.replace("[]", "").split(".")
    for place, part in enumerate(parts):
        if place and parts[place - 1] == "metrics":
            assert part in BY_ID
            return
        assert part in model.model_fields, f"{figure.where}: {model.__name__} has no {part}"
        model = inner(model.model_fields[part].annotation)


def inner(annotation: Any) -> Any:
    """The model within an optional or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [inner(arm) for arm in get_args(annotation)] if get_origin(annotation) else []
    return next((each for each in found if each is not None), None)
