"""Marks for answers, shares with their intervals, and which model is better by more than chance."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from bench_runner.quality.scorers import answer_of, right
from bench_runner.workload.datasets import read_json_lines
from tests.support.knowing import answered, said
from tokenmark_decisions.quality import against, mcnemar, quality_of, ranked, wilson
from tokenmark_schemas.documents import read_tests, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.quality import AskedTest, Expect

GENERAL = read_tests("general", 1)


@pytest.mark.parametrize(
    ("expect", "good", "bad"),
    [
        ({"number": "39"}, ["39", "39.", "**39**", "6*4 + 5*3 = 39 euros", "<think>40? 41?</think>\n39", "= 39.0", "€39", "39th", "39km"], ["", "3 9", "390", "39 or 40", "v39", "thirty-nine", "39.5"]),
        ({"number": "1260"}, ["1,260 euros", "1260"], ["12,60", "1.260", "1 260", "1,2600"]),
        ({"number": "4.5"}, ["4.5", "4.50", "The result is 4.5."], ["4,5", "45"]),
        ({"number": "-13"}, ["-13", "12 - 30 + 5 = -13", "\u221213"], ["13", "12-30+5"]),
        ({"choice": "B"}, ["B", "B.", "(B)", "b", "b) by ferry", "`B`", "B) its disk was full", "B the disk was full", "**B**", "The answer is B.", "the correct option: B", "I think the answer is B.", "\\boxed{B}", "The correct letter is B"], ["", "A", "A or B", "Because of it", "A. The answer B is wrong"]),
        ({"choice": "A"}, ["A", "a", "A) the first"], ["The answer is a bit tricky: B", "A person who lies is the second, so B", "I"]),
        ({"words": ["Sunday", "on Sundays"]}, ["Sunday", "sunday.", "It is closed on Sundays.", "It is Sunday"], ["Monday", "Sundayish", "Sunday " + "and so on and " * 5, "Saturday, Sunday, Monday"]),
        ({"words": ["no"]}, ["No", "no.", "No, it does not."], ["yes", "yes or no", "Yes, no doubt", "nothing"]),
        ({"words": ["Finn"]}, ["Finn", "Finn is third."], ["Hana, Eli, Finn, Gil, Ivo", "1. Hana\n2. Eli\n3. Finn"]),
        ({"json": {"a": 1, "b": [True, None]}}, ['{"b": [true, null], "a": 1}', '```json\n{"a": 1.0, "b": [true, null]}\n```'], ['{"a": 1}', '{"a": true, "b": [true, null]}', '{"a": 1, "b": [1, null]}', "Here: {}", "[" * 100_000]),
        ({"pattern": r"one\s*\ntwo"}, ["one\ntwo", " one \ntwo\n"], ["one two", "one\ntwo\nthree"]),
        ({"pattern": "0?2:04"}, ["02:04", "**02:04**", "`2:04`"], ["12:04"]),
    ],
)  # fmt: skip
def test_an_answer_is_right_or_wrong(expect: dict[str, Any], good: list[str], bad: list[str]) -> None:
    expected = Expect.model_validate(expect)
    assert [text for text in good if not right(expected, text)] == []
    assert [text for text in bad if right(expected, text)] == []


def test_an_expectation_is_one_thing() -> None:
    for wrong in (
        {},
        {"number": "1", "choice": "A"},
        {"number": "one"},
        {"choice": "ABC"},
        {"pattern": "("},
        {"words": ["%"]},
    ):
        with pytest.raises(ValueError, match=r"exactly one|pattern|letter or a digit"):
            Expect.model_validate(wrong)


def test_thinking_is_no_part_of_an_answer_whoever_opened_it_and_however_long_it_is() -> None:
    assert answer_of("<think>it is 4\n</think>\n\n5") == "5"
    assert answer_of("<think>it is 4, no") == ""
    assert answer_of("it is 4, no, wait\n</think>\n5") == "5"
    assert answer_of("<think>" + "on and on " * 10_000 + "</think>5") == "5"


@pytest.mark.parametrize(
    "said",
    [
        "111," * 100_000 + "a",
        "1" * 100_000,
        "," * 100_000,
        "answer " * 20_000,
        "<think>" * 20_000,
        "```" * 20_000,
        "(" * 100_000,
    ],
)
def test_no_answer_takes_long_to_judge(said: str) -> None:
    began = time.perf_counter()
    for expect in ({"number": "1"}, {"choice": "A"}, {"words": ["a"]}, {"json": {}}, {"pattern": "a"}):
        right(Expect.model_validate(expect), said)
    assert time.perf_counter() - began < 0.5


def test_every_built_in_test_can_be_answered_and_is_not_by_chatter() -> None:
    assert [test.test for test in GENERAL.tests if not right(test.expect, said(test))] == []
    for chatter in ("", "I am not sure.", "token token token", "{}", "Let me think about that."):
        assert [test.test for test in GENERAL.tests if right(test.expect, chatter)] == []


def test_of_the_first_tests_each_kind_has_its_part() -> None:
    first = [test.kind for test in GENERAL.tests[:25]]
    assert {kind: first.count(kind) for kind in sorted(set(first))} == {
        "format": 5,
        "logic": 6,
        "maths": 8,
        "reading": 6,
    }
    (stage,) = read_workload("quality").stages
    assert stage.request_count == len(GENERAL.tests)


def test_tests_that_are_not_there_are_told() -> None:
    with pytest.raises(InvalidInput, match="known: general version 1"):
        read_tests("general", 9)


def test_lines_of_ones_own_are_tests_too_and_a_bad_one_is_named(tmp_path: Path) -> None:
    line = {"prompt": "2+2?", "test": "sum", "kind": "maths", "expect": {"number": "4"}}
    (found,) = read_json_lines(json.dumps(line), "own.jsonl")
    assert found.test is not None
    assert right(found.test.expect, "4")
    with pytest.raises(InvalidInput, match="two tests are called sum"):
        read_json_lines(json.dumps(line) + "\n" + json.dumps(line), "own.jsonl")
    for wrong in ({"expect": {"nmber": "4"}}, {"expect": {}}, {"test": "Not A Label"}):
        with pytest.raises(InvalidInput, match=r"own.jsonl:1: "):
            read_json_lines(json.dumps(line | wrong), "own.jsonl")


@pytest.mark.parametrize(("right_", "asked"), [(0, 10), (7, 10), (10, 10), (19, 24), (500, 1000)])
def test_the_interval_of_a_share_is_wilsons(right_: int, asked: int) -> None:
    low, high = wilson(right_, asked) or (0.0, 0.0)
    known = binomtest(right_, asked).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high), abs=1e-12)


def test_no_answers_have_no_share() -> None:
    found = quality_of([AskedTest(test="a", kind="k", asked=0, right=0, answer="")], 1, 500)
    assert (found.accuracy, found.ci95, found.unanswered, found.kinds) == (None, None, 1, [])


def test_what_is_answered_both_ways_counts_as_wrong_and_is_told() -> None:
    outcomes = [AskedTest(test=f"t{k}", kind="k", asked=3, right=k, answer="") for k in range(4)]
    found = quality_of(outcomes, 0, 500)
    assert (found.right, found.asked, found.unsteady) == (1, 4, 2)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (1, 9), (12, 12), (40, 60)])
def test_mcnemars_test_is_the_exact_one(b: int, c: int) -> None:
    known = binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(known)


def test_a_loss_beyond_chance_is_a_loss_and_a_small_one_a_tie() -> None:
    reference = [True] * 80 + [False] * 20
    few, many = list(reference), list(reference)
    few[:4] = [False] * 4
    many[:16] = [False] * 16
    found = {
        each.name: each
        for each in against("q8", {"q8": answered(reference), "q4": answered(few), "q2": answered(many)})
    }
    assert (found["q4"].lost, found["q4"].worse) == (4, False)
    assert (found["q2"].lost, found["q2"].worse) == (16, True)
    places = ranked({"q2": answered(many), "q8": answered(reference), "q4": answered(few)})
    assert places == [(1, "q8"), (1, "q4"), (3, "q2")]


def test_models_that_are_alike_are_told_apart_in_one_of_twenty_families_at_most() -> None:
    """300 families of four equal models that guess independently: a false difference in 5 % of the families at most, and a true one of
    a quarter of the tests is found in nine of ten."""
    chance = random.Random(7)
    guess = lambda share: answered([chance.random() < share for _ in range(100)])  # noqa: E731
    false = sum(any(place > 1 for place, _ in ranked({name: guess(0.6) for name in "abcd"})) for _ in range(300))
    assert false <= 15 + 3 * 4  # 5 %, and three standard deviations of what chance does to that
    found = sum(against("good", {"good": guess(0.8), "bad": guess(0.5)})[0].worse for _ in range(100))
    assert found >= 90
