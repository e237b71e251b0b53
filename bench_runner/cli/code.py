"""`tokenmark code`: does a model write code that compiles, is typed as asked, and still works?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from tokenmark_schemas.errors import InvalidInput

from ..config.flags import words_of
from .engines import FILE

if TYPE_CHECKING:
    from tokenmark_schemas.base import Contract
    from tokenmark_schemas.quality import CodeResult

code = typer.Typer(
    help="Refactorings that a model is asked for, judged by real compilers in a sandbox.", no_args_is_help=True
)
FIXTURES = typer.Option(None, "--own-fixtures", help="A folder of your own fixtures in the place of the built-in ones.")


@code.command()
def ask(
    engine: str = typer.Argument(..., help="An engine's name, or the address of one with --kind."),
    kind: str | None = typer.Option(None, help="The dialect of an address: openai, vllm, ollama, …"),
    model: str | None = typer.Option(None, help="The engine's own, or its first one, if unsaid."),
    runs: int = typer.Option(3, min=1, max=100, help="How often each is asked."),
    only: str | None = typer.Option(None, "--fixtures", help="Only these, by name, with commas between."),
    own: Path | None = FIXTURES,
    context: str = typer.Option("0", help="Tokens of other text before each task, such as 0,4000,16000: does a full window do harm?"),
    max_output_tokens: int = typer.Option(1500, min=16, max=100_000, help="The most tokens of an answer."),
    timeout: int = typer.Option(600, min=1, max=86_400, help="Seconds that an answer may take."),
    out: Path = typer.Option(Path("results"), help="code_result.json and every answer lie in OUT/code-MODEL.", envvar="TOKENMARK_OUT", show_envvar=False),
    file: Path | None = FILE,
    ask_only: bool = typer.Option(False, "--ask-only", help="Keep the answers, and leave the judging to `tokenmark code judge`, such as in a pod without a network."),
    pod: bool = typer.Option(False, "--pod", hidden=True, help="In a matrix's Job: tell the operator the answers, and keep nothing."),
) -> None:  # fmt: skip
    """Ask a model to give components types, and score what it writes from 0 to 10: that it parses and builds, its structure, its types, its tests.

    Needs bubblewrap, node and npm (once); what a model wrote never runs outside a sandbox without files, network and privileges.

    Examples: tokenmark code ask ollama --runs 5; tokenmark code ask http://127.0.0.1:8080 --kind llamacpp --fixtures counter

    Exit codes: 0 scored, 2 bad input or no sandbox here, 5 an answer did not come.
    """
    from tokenmark_decisions.sweep_cells import as_name
    from tokenmark_schemas.quality import ANSWERS_BLOCK

    from ..local.code_tasks import ANSWERS, keep, keep_answer, with_context
    from ..local.code_tasks import ask as asked_of
    from ..local.code_tasks import judge as judged
    from ..quality.code_checks import fixtures, tools
    from ..storage.text_file import write_text
    from ..target.discovery import target_of
    from .single_request import connection_of, first_model

    tasks, ask_only = with_context(fixtures(own, words_of(only)), _sizes(context)), ask_only or pod
    if not ask_only:
        _must_have_walls()
        tools()
    connection, token = connection_of(engine, kind, file)
    name = model or connection.model or first_model(connection, token)
    place, said = out / f"code-{as_name(name)}", f"--out {out}"
    answers = asked_of(
        target_of(connection, name, timeout),
        token,
        tasks,
        runs,
        max_output_tokens,
        _tell,
        lambda each: None if pod else keep_answer(place, each, said),
    )
    if pod:
        _tell_operator(ANSWERS_BLOCK, answers)
        return
    write_text(place / ANSWERS, json.dumps(answers.snake(), indent=1) + "\n", said)
    if ask_only:
        print(place / ANSWERS)
        return
    result = judged(answers, tasks, tools(), _tell)
    keep(place, result, said)
    _show(result)
    print(f"\n{place}/code_result.json", file=sys.stderr)


@code.command()
def judge(
    answers: Path = typer.Argument(..., help="answers.json, as `tokenmark code ask` keeps it."),
    own: Path | None = FIXTURES,
    output: Literal["table", "json"] = typer.Option("table", "--output", "-o", help="json: code-result/v1, and nothing else."),
    pod: bool = typer.Option(False, "--pod", hidden=True, help="In a matrix's Job: tell the operator the result."),
) -> None:  # fmt: skip
    """Score what a model wrote elsewhere: in a sandbox of this machine, or of a pod that has no network (deploy/examples/code-judge.yaml).

    Example: tokenmark code judge results/code-gemma/answers.json -o json > code_result.json

    Exit codes: 0 scored, 2 bad input or no sandbox here, 5 no answer could be judged.
    """
    from tokenmark_schemas.documents import read_model
    from tokenmark_schemas.quality import RESULT_BLOCK, CodeAnswers

    from ..local.code_tasks import judge as judged
    from ..quality.code_checks import fixtures, tools

    kept = read_model(answers, CodeAnswers, "answers to code tasks", "code-answers/v1")
    _must_have_walls()
    tell = _tell if output == "table" else lambda _said: None
    result = judged(kept, fixtures(own), tools(), tell)
    if pod:
        _tell_operator(RESULT_BLOCK, result)
    elif output == "json":
        print(json.dumps(result.snake(), indent=1))
    else:
        _show(result)


@code.command()
def check(
    component: Path = typer.Argument(..., help="A component, such as one of an earlier answer."),
    fixture: str = typer.Argument(
        ..., help="What it was asked for: counter, todo-list, user-card, or one of --own-fixtures."
    ),
    own: Path | None = FIXTURES,
) -> None:
    """Score one component, as JSON. Needs no engine and no network, once the compilers are there.

    Example: tokenmark code check Counter.vue counter
    """
    from tokenmark_decisions.code_score import parts_of, score_of
    from tokenmark_schemas.documents import read_text
    from tokenmark_schemas.errors import RunFailed

    from ..quality.code_checks import checked, fixtures, tools

    (task,) = fixtures(own, [fixture])
    text = read_text(component)
    _must_have_walls()
    finding, ended = checked(task, text, tools())
    if finding is None:
        raise RunFailed(f"{component}: {ended}")
    print(
        json.dumps(
            {"score": round(score_of(finding) or 0.0, 2), "parts": parts_of(finding), **finding.snake()}, indent=2
        )
    )


@code.command()
def install() -> None:
    """Fetch the compilers from npm, once, by their lock file; prints where they are."""
    from ..quality.code_checks import tools

    print(tools())


def _show(result: CodeResult) -> None:
    from rich.console import Console

    from ..reports.code import code_table

    Console().print(code_table(result))
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _must_have_walls() -> None:
    """Raises InvalidInput: outside a sandbox nothing of a model's is run."""
    from ..quality.sandbox import available

    if why := available():
        raise InvalidInput(why)


def _sizes(said: str) -> list[int]:
    words = words_of(said)
    if not words or any(not (word.isascii() and word.isdigit()) or int(word) > 1_000_000 for word in words):
        raise InvalidInput(f"--context {said}: numbers of tokens up to 1,000,000, with commas between")
    return [int(word) for word in words]


def _tell_operator(block: str, document: Contract) -> None:
    """In the log, where it follows it."""
    from ..storage.pod_frames import compressed, write_frames

    write_frames(block, compressed(document))


def _tell(said: str) -> None:
    print(said, file=sys.stderr)
