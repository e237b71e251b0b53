"""Components that a model could have written, judged by real compilers and tests in the sandbox."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_runner.quality.code_checks import WALLS, Fixture, checked, component_of, fixtures, tools
from tests.accuracy.test_truth import CLI
from tests.cluster.debian import have
from tests.support.knowing import server
from tests.support.serving import in_thread
from tokenmark_decisions.code_score import parts_of, score_of
from tokenmark_schemas.frames import FrameReader
from tokenmark_schemas.quality import CodeAnswers, CodeFinding, CodeResult

KNOWN = {each.name: each for each in fixtures()}
COUNTER = KNOWN["counter"]


@pytest.fixture(scope="module", autouse=True)
def compilers() -> Path:
    have({"bwrap": "bubblewrap", "node": "nodejs", "npm": "npm"})
    return tools()


def found(component: str, fixture: Fixture = COUNTER) -> CodeFinding:
    finding, ended = checked(fixture, component, tools())
    assert finding is not None, ended
    return finding


def changed(before: str, after: str) -> str:
    assert before in COUNTER.expected
    return COUNTER.expected.replace(before, after)


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_expected_has_every_point_and_what_was_given_has_not(name: str) -> None:
    fixture = KNOWN[name]
    assert score_of(found(fixture.expected, fixture)) == 10
    given = component_of(fixture.prompt)
    assert "<script" in given
    finding = found(given, fixture)
    parts = parts_of(finding)
    assert parts["tests"] == 1, "the task changes no behaviour"
    assert parts["structure"] < 0.5
    assert score_of(finding) == pytest.approx(10 * parts["structure"]), "it works, and that is all"


@pytest.mark.parametrize(
    ("component", "problem"),
    [
        ("", "neither template nor script"),
        ("<template><p></template>", "missing end tag"),
        ("I cannot do that.", "neither template nor script"),
    ],
)
def test_what_is_no_component_has_no_point(component: str, problem: str) -> None:
    finding = found(component)
    assert (finding.parses, score_of(finding)) == (False, 0)
    assert problem in " ".join(finding.problems)


def test_what_does_not_build_keeps_the_points_of_its_structure_alone() -> None:
    finding = found(changed("const count = ", "const const count = "))
    assert (finding.parses, finding.compiles) == (True, False)
    assert finding.problems
    assert {"types", "tests"} == {
        name for name, value in parts_of(finding).items() if value == 0 and name != "compiles"
    }
    assert 0 < score_of(finding) < 5


def test_a_wrong_type_is_found_in_script_and_template() -> None:
    in_script = found(changed("props.start ?? 0", "props.start ?? 'none'"))
    assert "TS2345" in in_script.type_errors[0] or "TS2769" in in_script.type_errors[0]
    in_template = found(changed("{{ doubled }}", "{{ doubled.toUpperCase() }}"))
    assert "toUpperCase" in in_template.type_errors[0]
    assert parts_of(in_template)["types"] == 0.8


def test_structure_is_read_from_the_tree_and_not_from_the_text() -> None:
    """Everything that is asked for stands in a comment, and in a string."""
    comment = COUNTER.expected.split('lang="ts">')[1].split("</script>")[0].replace("*/", "")
    fake = f'<script setup lang="ts">\n/* {comment} */\nconst said = `{comment.replace("`", "")}`\n</script>\n<template><p>{{{{ said }}}}</p></template>'
    assert [check.what for check in found(fake).structure if check.good] == [
        '<script lang="ts">',
        "<script setup>",
        "no any",
    ]


@pytest.mark.trial
def test_what_is_written_otherwise_and_means_the_same_counts() -> None:
    arrow = changed(
        "function add(step: number = 1): void {\n  count.value += step\n}",
        "const add = (step: number = 1): void => {\n  count.value += step\n}",
    )
    assert score_of(found(arrow)) == 10
    alias = changed("interface Props {", "type Props = {")
    assert score_of(found(alias)) == 10


@pytest.mark.trial
def test_any_is_found_wherever_it_stands() -> None:
    finding = found(
        changed(
            "function add(step: number = 1): void {",
            "function add(step: number = 1): void {\n  const x: Array<any> = []; void x",
        )
    )
    assert [check.what for check in finding.structure if not check.good] == ["no any"]


def test_broken_behaviour_is_found_by_the_tests() -> None:
    finding = found(changed("count.value += step", "count.value -= step"))
    assert finding.tests is not None
    assert (finding.tests.passed, finding.tests.total) == (2, 3)
    assert finding.tests.problems[0].startswith("a click adds one: ")


HOSTILE = "import { readFileSync, writeFileSync } from 'node:fs'\n"


@pytest.mark.parametrize(
    ("script", "passed"),
    [
        (HOSTILE + "console.log(readFileSync('/etc/passwd', 'utf8'))", 0), (HOSTILE + "writeFileSync('/given/check.mjs', 'x')", 0),
        (HOSTILE + "writeFileSync('/tools/node_modules/vue/index.js', 'x')", 0), ("process.exit(0)", 0), ("throw new Error('no')", 0),
    ],
)  # fmt: skip
def test_hostile_code_does_nothing_but_fail(script: str, passed: int) -> None:
    component = COUNTER.expected.replace(
        "import { computed, ref } from 'vue'", f"import {{ computed, ref }} from 'vue'\n{script}"
    )
    finding = found(component)
    assert finding.tests is not None
    assert finding.tests.passed == passed
    assert "root:" not in finding.model_dump_json()


def test_code_without_an_end_is_ended_and_its_types_are_known() -> None:
    endless = changed("const count = ", "while (true) {}\nconst count = ")
    finding, _ = checked(COUNTER, endless, tools(), replace(WALLS, seconds=20))
    assert finding is not None
    assert finding.compiles
    assert finding.tests is not None
    assert (finding.tests.passed, finding.tests.problems) == (0, ["it took longer than 20 s"])


@pytest.mark.trial
@pytest.mark.parametrize("comment", ["// @ts-nocheck", "// @ts-ignore"])
def test_who_silences_the_compiler_loses_a_point_of_structure(comment: str) -> None:
    finding = found(changed("const count = ", f"{comment}\nconst count = "))
    assert [check.what for check in finding.structure if not check.good] == ["no @ts-ignore"]


def test_the_longest_block_that_is_a_component_is_the_answer() -> None:
    answer = f"First:\n```sh\nnpm i\n```\nThen:\n```vue\n{COUNTER.expected}```\nor\n```html\n<template><p/></template>\n```\nGood luck."
    assert component_of(answer).strip() == COUNTER.expected.strip()
    assert component_of("```vue\n<template>cut off") == "<template>cut off"
    assert component_of("<template/>") == "<template/>"


# --- as a person would --------------------------------------------------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[str]:
    with server() as listening, in_thread(listening):
        yield f"http://127.0.0.1:{listening.server_port}"


def asking(engine: str, out: Path, *more: str) -> list[str]:
    return [*CLI, "code", "ask", engine, "--kind", "openai", "--model", "known", "--out", str(out), *more]


def test_a_model_is_asked_and_scored(engine: str, tmp_path: Path) -> None:
    words = asking(engine, tmp_path, "--runs", "2", "--fixtures", "counter,user-card", "--context", "0,300")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads((tmp_path / "code-known" / "code_result.json").read_text())
    by_name = {each["fixture"]: each for each in result["fixtures"]}
    assert list(by_name) == ["counter", "user-card", "counter behind 300", "user-card behind 300"]
    assert (by_name["counter"]["mean"], by_name["counter"]["stddev"], by_name["counter"]["same"]) == (10, 0, 1)
    assert by_name["user-card"]["mean"] < 3
    assert result["mean"] == pytest.approx(sum(each["mean"] for each in by_name.values()) / 4)
    assert len(list((tmp_path / "code-known" / "answers").iterdir())) == 8
    assert "counter" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_what_is_asked_here_is_judged_elsewhere_alike(engine: str, tmp_path: Path) -> None:
    asked = asking(engine, tmp_path, "--runs", "1", "--ask-only", "--fixtures", "counter", "--context", "0,300")
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = Path(done.stdout.strip())
    assert not (answers.parent / "code_result.json").exists()
    judge = [*CLI, "code", "judge", str(answers), "-o", "json"]
    done = subprocess.run(judge, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert {each["fixture"]: each["mean"] for each in result["fixtures"]} == {"counter": 10, "counter behind 300": 10}
    kept = json.loads(answers.read_text())
    kept["answers"][0]["fixture"] = "nobody"
    answers.write_text(json.dumps(kept))
    done = subprocess.run(judge, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "there is no fixture nobody; there are counter" in done.stderr) == (2, True)


def test_what_a_job_asks_and_judges_stands_in_its_log_and_nowhere_else(engine: str, tmp_path: Path) -> None:
    ask = asking(engine, tmp_path, "--runs", "1", "--fixtures", "counter", "--pod")
    answers = _logged(ask)["answers"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "answers.json").write_bytes(answers)
    assert CodeAnswers.model_validate_json(answers).answers[0].component
    result = CodeResult.model_validate_json(
        _logged([*CLI, "code", "judge", str(tmp_path / "answers.json"), "--pod"])["code"]
    )
    assert result.answers[0].score == result.mean > 5


def _logged(words: list[str]) -> dict[str, bytes]:
    """The documents in what a Job writes."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    reader = FrameReader()
    for line in done.stdout.splitlines():
        reader.feed(line)
    return {name: gzip.decompress(payload) for name, payload in reader.blocks.items()}


def test_a_machine_that_calls_itself_a_pod_judges_nothing(tmp_path: Path) -> None:
    (tmp_path / "C.vue").write_text(COUNTER.expected)
    words = [*CLI, "code", "check", str(tmp_path / "C.vue"), "counter"]
    env = {**os.environ, "TOKENMARK_SANDBOX": "pod"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2
    assert "this pod is no sandbox; it lacks: the container's first process" in done.stderr
    assert "a root file system that cannot be written" in done.stderr


def test_a_fixture_that_is_none_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [*CLI, "code", "check", str(tmp_path), "nothing"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "there are counter, todo-list, user-card" in done.stderr) == (2, True)
