"""Words for numbers: at the limits, by use, and apart from the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.commands import tokenmark
from tests.support.results import a_result
from tokenmark_decisions.rating import rate, use_of, word_of
from tokenmark_schemas.documents import builtin_workloads, read_ratings, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult


def of_workload(name: str, state: str = "valid") -> RunResult:
    """TTFT 99.999 ms, TPOT 10 ms, no failures."""
    found = a_result()
    provenance = found.provenance
    workload = provenance.workload.model_copy(update={"name": name})
    return found.model_copy(
        update={
            "provenance": provenance.model_copy(update={"workload": workload}),
            "verdict": found.verdict.model_copy(update={"state": state}),
        }
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.0, "excellent"), (1.0, "excellent"), (1.01, "good"), (2.0, "good"), (3.0, "acceptable"), (4.0, "poor"), (4.1, "failed")],
)  # fmt: skip
def test_a_limit_belongs_to_the_better_word(value: float, word: str) -> None:
    assert word_of(value, [1.0, 2.0, 3.0, 4.0]) == word
    assert word_of(-value, [-1.0, -2.0, -3.0, -4.0]) == word


def test_a_chat_of_a_tenth_of_a_second_is_excellent_and_the_same_numbers_type_code_well_enough() -> None:
    file, result = read_ratings(None), of_workload("chat-standard")
    chat = use_of(file, "chat-standard")
    assert chat is not None
    rated = rate(result, chat, file.version)
    assert {(line.metric, line.word) for line in rated.lines} == {
        ("ttft", "excellent"),
        ("tpot", "excellent"),
        ("success_rate", "excellent"),
    }
    assert rated.stages == {"c1": "excellent"}
    assert rated.lines[0].value == result.stages[0].metrics["ttft"].p95


def test_a_stage_is_worth_its_worst_line_and_what_is_not_known_is_no_word() -> None:
    file, result = read_ratings(None), of_workload("chat-standard")
    chat = use_of(file, "chat-standard")
    assert chat is not None
    stage = result.stages[0]
    slow = stage.metrics["tpot"].model_copy(update={"p95": 0.3})
    unknown = stage.metrics["tpot"].model_copy(update={"p95": None})
    words = [
        rate(
            result.model_copy(
                update={"stages": [stage.model_copy(update={"metrics": stage.metrics | {"tpot": tpot}})]}
            ),
            chat,
            1,
        ).stages["c1"]
        for tpot in (slow, unknown)
    ]
    assert words == ["poor", None]


def test_every_workload_that_ships_is_of_one_use_at_most_and_every_line_has_its_source_and_sentence() -> None:
    file = read_ratings(None)
    named = [workload for use in file.uses for workload in use.workloads]
    assert len(named) == len(set(named))
    assert set(named) == {name for name in builtin_workloads() if not read_workload(name).operations} - {"smoke"}
    assert all(line.says.endswith((".", "words.")) and line.source for use in file.uses for line in use.lines)


def test_the_verb_says_the_words_and_that_a_verdict_is_not_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, state in (("rag-standard", "valid"), ("rag-standard", "invalid")):
        (tmp_path / "result.json").write_text(json.dumps(of_workload(name, state).snake()))
        assert tokenmark("rate", str(tmp_path)) == 0
        shown = capsys.readouterr().out
        assert "rag  A question over long documents" in shown
        assert "excellent" in shown
        assert ("the verdict is invalid" in shown) == (state == "invalid")
    assert tokenmark("rate", str(tmp_path), "--use", "code-completion", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["use"] == "code-completion"


def test_a_workload_of_no_use_and_a_use_that_is_none_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(of_workload("smoke").snake()))
    assert tokenmark("rate", str(tmp_path)) == 2
    assert (
        "workload smoke is of no use that is known; say --use: chat, code-completion, rag, interactive, long-context, bulk, quality, batch"
        in capsys.readouterr().err
    )
    assert tokenmark("rate", str(tmp_path), "--use", "chatt") == 2
    assert "--use chatt: choose chat" in capsys.readouterr().err


def test_limits_out_of_order_are_refused(tmp_path: Path) -> None:
    line = {"metric": "ttft", "statistic": "p95", "limits": [1, 3, 2, 4], "source": "s", "says": "s."}
    file = {
        "schemaVersion": "ratings/v1",
        "version": 1,
        "date": "2030-01-01",
        "uses": [{"name": "u", "about": "a", "lines": [line]}],
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(file))
    with pytest.raises(InvalidInput, match="limits stand in order"):
        read_ratings(tmp_path / "r.yaml")
