"""The order of a matrix, what it leaves out and why, and what it says at the end."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from bench_runner.local.matrix_plan import choose_models, choose_profiles, choose_variants, identity
from bench_runner.reports.matrix import matrix_csv
from bench_runner.reports.matrix_rows import drift_of
from tests.support.commands import tokenmark
from tests.support.gguf_files import write
from tests.support.knowing import answered
from tokenmark_decisions.matrix_cells import (
    Candidate,
    Cell,
    Ended,
    Variant,
    cell_name,
    cells,
    learned_bytes,
    left_s,
    matrix_id,
    too_slow,
    why_not,
)
from tokenmark_decisions.recommend import recommendations, warnings
from tokenmark_schemas.benchmarkrun import BenchmarkRunSpec
from tokenmark_schemas.documents import read_profiles
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.local_models import ModelsFile
from tokenmark_schemas.matrix import MatrixLimits, MatrixResult, MatrixRow, ServerFacts
from tokenmark_schemas.quality import KindShare

PROFILES = {each.name: each for each in read_profiles(None).profiles}
LIMITS = MatrixLimits()
USUAL = [name for name, each in PROFILES.items() if not each.on_request]
GB = 10**9
ONE = (Variant(4),)


def candidate(model: str, quantization: str, size: int, context: int = 131072) -> Candidate:
    return Candidate(model, quantization, size, size * 2, context, f"{model}{quantization}")


def planned(*names: str, depth: str = "quick", salt: object = None, ways: tuple[Variant, ...] = ONE) -> list[Cell]:
    models = [candidate("large", word, size) for word, size in (("Q2_K", 3), ("Q8_0", 8), ("Q4_K_M", 4))]
    models += [candidate("small", word, size) for word, size in (("F16", 2), ("Q4_0", 1))]
    return cells(models, [PROFILES[name] for name in names or USUAL], ways, depth, LIMITS, salt=salt)  # type: ignore[arg-type]


# --- the order ----------------------------------------------------------------------------------------------------------


def test_a_first_token_may_be_allowed_longer_than_a_request_usually_is() -> None:
    patient = cells([candidate("m", "Q4_0", 1)], [PROFILES["long-context"]], ONE, "quick", MatrixLimits(ttft_s=900))
    targets = [BenchmarkRunSpec.model_validate(_whole(cell)).target for cell in patient]
    assert {(each.first_token_timeout_seconds, each.request_timeout_seconds) for each in targets} == {(900, 1800)}


def test_another_engine_makes_other_cells() -> None:
    asked = [candidate("m", "Q4_0", 1)], [PROFILES["interactive"], PROFILES["code"]], ONE, "quick", LIMITS
    ours, theirs = cells(*asked), cells(*asked, engine="ollama")  # type: ignore[arg-type]
    assert [cell.name for cell in ours] == [cell.name for cell in theirs]
    assert {cell.hash for cell in ours}.isdisjoint(cell.hash for cell in theirs)
    assert BenchmarkRunSpec.model_validate(_whole(theirs[0])).target.engine == "ollama"


def _whole(cell: Cell) -> dict[str, Any]:
    return {**cell.spec, "target": {**cell.spec["target"], "endpoint": {"url": "http://x"}}}


def test_four_bits_and_small_models_go_first() -> None:
    order = dict.fromkeys((cell.candidate.model, cell.candidate.quantization) for cell in planned())
    assert list(order) == [
        ("small", "Q4_0"),
        ("large", "Q4_K_M"),
        ("large", "Q8_0"),
        ("small", "F16"),
        ("large", "Q2_K"),
    ]


def test_each_server_is_started_once() -> None:
    servers = [key for key, _ in itertools.groupby(planned(), key=lambda cell: cell.server)]
    assert len(servers) == len(set(servers)) == 5 * 5  # 4k of context for four uses, and the four long ones


def test_every_cell_is_a_run_that_the_contract_takes_in_a_cluster_too() -> None:
    for depth in ("quick", "standard", "full"):
        for cell in planned(depth=depth, ways=ONE):
            target = {**cell.spec["target"], "endpoint": {"url": "http://127.0.0.1:1"}}
            BenchmarkRunSpec.model_validate({**cell.spec, "target": target})
    assert len({cell.name for cell in planned()}) == len(planned()) == 5 * 8


def test_a_cells_hash_is_of_what_it_asks_of_which_file_and_how() -> None:
    (first, *_), (other, *_), (deeper, *_) = (
        planned("batch"),
        planned("batch", salt=[2]),
        planned("batch", depth="full"),
    )
    assert len({first.hash, other.hash, deeper.hash}) == 3
    assert matrix_id(planned()) == matrix_id(reversed(planned()))


def test_several_ways_to_start_a_server_are_cells_of_their_own() -> None:
    ways = tuple(choose_variants(["2", "8", "2"], ["0", "99"], [], 3))
    assert [each.called(ways) for each in ways] == ["t2-g0", "t2-g99", "t8-g0", "t8-g99"]
    assert choose_variants([], [], [], 3) == [Variant(3, None)]
    assert choose_variants([], ["0"], [], 3)[0].called([Variant(3, 0)]) == ""
    found = planned("interactive", ways=ways)
    assert len({cell.name for cell in found}) == len({cell.hash for cell in found}) == len(found) == 5 * 4
    assert found[0].name == "small-q4-0-t2-g0-interactive"
    for flag, words in (("--threads", ["two"]), ("--threads", ["0"]), ("--threads", ["²"])):
        with pytest.raises(InvalidInput, match=flag):
            choose_variants(words, [], [], 3)


def test_contexts_are_compared_where_a_use_asks_for_less_and_once_where_it_asks_for_more() -> None:
    ways = tuple(choose_variants([], [], ["4096", "8192"], 3))
    assert [each.called(ways) for each in ways] == ["c4096", "c8192"]
    found = cells(
        [candidate("m", "Q8_0", 1)], [PROFILES["interactive"], PROFILES["long-context"]], ways, "quick", LIMITS
    )
    short = [cell.context for cell in found if cell.profile.name == "interactive"]
    assert short == [4096, 8192]
    assert [cell.server[2] for cell in found if cell.part.name == "16k"] == [17408]
    four = [cell for cell in found if cell.part.name == "4k"]
    assert [(cell.way, cell.context) for cell in four] == [("c4096", 4608), ("c8192", 8192)]
    assert len({cell.hash for cell in found}) == len(found)
    with pytest.raises(InvalidInput, match="--contexts 12"):
        choose_variants([], [], ["12"], 3)


def test_of_contexts_that_are_as_fast_the_longest_is_proposed() -> None:
    rows = [
        row("m", "Q8_0", "batch", way=way, tokens_per_s=pace, context=context)
        for way, context, pace in (("c4096", 4096, 20.0), ("c8192", 8192, 19.8), ("c32768", 32768, 12.0))
    ]
    (found,) = [each for each in recommendations(rows, {}) if each.use == "settings"]
    assert (
        found.why == "c8192: 19.8 tokens/s, 1.65 times as fast as c32768, and more context than c4096, which is as fast"
    )


def test_cells_of_one_name_are_refused() -> None:
    twin = PROFILES["batch"].model_copy(update={"name": "interactive"})
    with pytest.raises(InvalidInput, match="several cells would be called m-q8-0-interactive"):
        cells([candidate("m", "Q8_0", 1)], [PROFILES["interactive"], twin], ONE, "quick", LIMITS)


def test_cells_of_long_names_stay_apart() -> None:
    models = [
        candidate(f"a-model-of-a-very-long-name-indeed-for-a-{kind}", "Q4_K_M", 1) for kind in ("coder", "chatter")
    ]
    found = cells(models, [PROFILES[name] for name in USUAL], ONE, "quick", LIMITS)
    assert len({cell.name for cell in found}) == len(found) == 16
    assert max(len(cell.name) for cell in found) <= 48
    parts = [PROFILES["long-context"].parts[0].model_copy(update={"name": name}) for name in ("short", "long")]
    wordy = PROFILES["long-context"].model_copy(
        update={"name": "questions-of-our-customers-in-german-and-french", "parts": parts}
    )
    names = [cell.name for cell in cells(models, [wordy], ONE, "quick", LIMITS)]
    assert len(set(names)) == 4
    assert max(map(len, names)) <= 48
    assert cell_name("模型", "Q8_0", "batch").endswith("-q8-0-batch")
    assert all(cell.name.endswith(cell.profile.name if cell.part.name is None else cell.part.name) for cell in found)


# --- what is left out ---------------------------------------------------------------------------------------------------


def reason(
    cell: Cell, *, needed: int = GB, free: int = 2 * GB, learned: int = 0, ended: tuple[Ended, ...] = ()
) -> str | None:
    return why_not(cell, needed=needed, free=free, learned=learned, ended=ended)


def test_what_cannot_fit_is_not_started_and_what_servers_held_before_is_learned_from() -> None:
    (cell, *_) = planned("interactive")
    assert reason(cell) is None
    assert reason(cell, free=GB // 2) == "it would need 1.0 GB, and 0.5 GB are free"
    servers = [
        ServerFacts(model="m", quantization="q", context=1, streams=1, needed_bytes=100, held_bytes=held)
        for held in (None, 90, 125)
    ]
    assert learned_bytes([]) == learned_bytes(servers[:2]) == 0
    assert learned_bytes(servers) == 25
    said = reason(cell, free=GB + GB // 10, learned=GB // 4)
    assert (
        said
        == "it would need 1.2 GB with the 0.2 GB that servers before it held beyond what was worked out, and 1.1 GB are free"
    )
    (on_gpu, *_) = planned("interactive", ways=(Variant(4, 99),))
    assert reason(on_gpu, free=0) is None, "what goes to a GPU is not known here"


def test_a_context_that_a_model_was_not_made_for_is_not_asked_of_it() -> None:
    found = cells([candidate("m", "Q4_0", 1, context=16384)], [PROFILES["long-context"]], ONE, "quick", LIMITS)
    assert [reason(cell) is None for cell in found] == [True, True, False, False]
    assert "made for 16,384" in (reason(found[3]) or "")


def test_what_is_heavier_than_what_failed_is_not_tried() -> None:
    of_large = [
        cell for cell in planned("long-context", "interactive") if cell.candidate == candidate("large", "Q8_0", 8)
    ]
    by_name = {(cell.profile.name, cell.part.name): cell for cell in of_large}
    failed = (Ended(by_name["long-context", "8k"], "no token within 30 s", False),)
    left_out = {key for key, cell in by_name.items() if reason(cell, ended=failed)}
    assert left_out == {("long-context", "16k"), ("long-context", "32k")}
    assert (
        reason(by_name["long-context", "16k"], ended=failed)
        == "long-context 8k failed, and this is heavier: no token within 30 s"
    )


def test_a_larger_model_at_the_same_quantisation_is_not_tried_after_a_failure() -> None:
    models = [candidate(name, word, size) for name, size in (("a", 1), ("b", 2)) for word in ("Q4_0", "Q8_0")]
    found = cells(models, [PROFILES["batch"]], ONE, "quick", LIMITS)
    by_key = {(cell.candidate.model, cell.candidate.quantization): cell for cell in found}
    failed = (Ended(by_key["a", "Q8_0"], "1.0 tokens/s, below 2", True),)
    assert [key for key, cell in by_key.items() if reason(cell, ended=failed)] == [("b", "Q8_0")]
    damaged = (Ended(by_key["a", "Q8_0"], "unknown model architecture", False),)
    assert not any(reason(cell, ended=damaged) for cell in by_key.values()), (
        "what is wrong with a file is no other's fault"
    )


def test_a_trial_is_too_slow_by_its_first_token_or_by_its_pace() -> None:
    assert too_slow(0.1, 40.0, LIMITS) is too_slow(0.1, None, LIMITS) is too_slow(None, None, LIMITS) is None
    assert too_slow(31.0, 40.0, LIMITS) == "the first token of a short answer was not there within 30 s"
    assert too_slow(0.1, 1.94, LIMITS) == "1.9 tokens/s, below 2"


def test_what_is_left_takes_as_long_as_what_was_done() -> None:
    first, *rest = planned("batch", "interactive")
    assert left_s(rest, []) is None
    batch = [cell for cell in rest if cell.profile.name == "batch"]
    assert left_s(batch, [(first, 10.0 * first.candidate.file_bytes)]) == sum(
        10 * cell.candidate.file_bytes for cell in batch
    )


# --- which models, which uses -------------------------------------------------------------------------------------------


def test_models_are_chosen_by_list_or_by_what_files_say(tmp_path: Path) -> None:
    write(tmp_path / "x.gguf", name="Tiny Model", basename=None, size_label=None)
    found = choose_models(None, tmp_path, [], [])
    ((model, word),) = found.files
    assert model == "tiny-model"
    listed = ModelsFile.model_validate({"models": [{"name": "mine", "also_called": ["Tiny Model"]}, {"name": "other"}]})
    assert list(choose_models(listed, tmp_path, [], []).files) == [("mine", word)]
    write(tmp_path / "y.gguf", name="Another", basename=None, size_label=None)
    (left_out,) = choose_models(listed, tmp_path, [], []).left_out
    assert "y.gguf: no model of the list" in left_out
    (tmp_path / "y.gguf").unlink()
    for names, quants, said in ((["no"], [], "no"), ([], ["Q1"], f"there are {word}")):
        with pytest.raises(InvalidInput, match=said):
            choose_models(None, tmp_path, names, quants)


def test_a_files_identity_is_of_its_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1" * 100), ("b", b"1" * 100), ("c", b"1" * 99 + b"2"), ("d", b"1" * 101)):
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (identity(tmp_path / name) for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_code_is_asked_only_where_it_is_named() -> None:
    known = list(PROFILES.values())
    assert "code" not in [each.name for each in choose_profiles(known, [], quality=True, stress=True)]
    (code,) = choose_profiles(known, ["code"], quality=True, stress=True)
    assert [
        cell.spec["code"]["runs"] for cell in cells([candidate("m", "Q8_0", 1)], [code], ONE, "standard", LIMITS)
    ] == [3]


def test_profiles_are_chosen_and_a_name_that_is_none_is_refused() -> None:
    known = list(PROFILES.values())
    assert [each.name for each in choose_profiles(known, [], quality=False, stress=False)] == [
        "interactive",
        "long-context",
        "batch",
    ]
    with pytest.raises(InvalidInput, match="there are interactive"):
        choose_profiles(known, ["chat"], quality=True, stress=True)
    with pytest.raises(InvalidInput, match="no profile is left"):
        choose_profiles(known, ["stress"], quality=True, stress=False)


# --- what it says -------------------------------------------------------------------------------------------------------


def row(model: str, quantization: str, profile: str, **more: Any) -> MatrixRow:
    named = {
        "cell": f"{model}-{quantization}-{profile}",
        "model": model,
        "quantization": quantization,
        "profile": profile,
        "part": None,
    }
    return MatrixRow(**{**named, "state": "done", "file_bytes": 1, "parameters": 2, **more})


def test_the_fastest_of_those_that_answer_no_worse_is_chosen() -> None:
    rights = {
        "Q8_0": [True] * 80 + [False] * 20,
        "Q4_K_M": [True] * 78 + [False] * 22,
        "Q2_K": [False] * 60 + [True] * 40,
    }
    answers = {("m", word): answered(right) for word, right in rights.items()}
    rows = [
        row("m", word, "interactive", e2e_mean_s=took, tokens_per_s=10 / took)
        for word, took in (("Q8_0", 4.0), ("Q4_K_M", 2.0), ("Q2_K", 1.0))
    ]
    rows += [
        row("m", word, "quality", accuracy=answers["m", word].accuracy, file_bytes=size)
        for word, size in (("Q8_0", 8), ("Q4_K_M", 4), ("Q2_K", 2))
    ]
    found = {each.use: each for each in recommendations(rows, answers)}
    assert (found["interactive"].quantization, found["quality"].quantization) == ("Q4_K_M", "Q4_K_M")
    assert "no worse than" in found["interactive"].why
    assert found["balanced"].quantization in ("Q4_K_M", "Q2_K")
    (warning,) = [said for said in warnings(rows, answers) if "for" not in said]
    assert warning.startswith("avoid m Q2_K: beside m Q8_0 it lost")
    without = recommendations([each for each in rows if each.profile == "interactive"], {})
    assert [(each.quantization, each.why) for each in without] == [
        ("Q2_K", "1.0 s an answer; fastest; answers were not judged")
    ]


def test_a_measured_row_that_is_rated_lowest_is_called_unusable_and_not_failed() -> None:
    rows = [row("m", "Q8_0", "interactive", e2e_mean_s=99.0, rating="failed")]
    (found,) = [each for each in recommendations(rows, {}) if each.use == "interactive"]
    assert "unusable" in found.why
    assert "failed" not in found.why


def test_of_several_ways_the_fastest_is_proposed_by_what_all_were_measured_at() -> None:
    rows = [
        row("m", "Q8_0", use, way=way, tokens_per_s=pace)
        for use, way, pace in (("batch", "t1", 10.0), ("batch", "t2", 20.0), ("stress", "t1", 99.0))
    ]
    (found,) = [each for each in recommendations(rows, {}) if each.use == "settings"]
    assert found.why == "t2: 20.0 tokens/s, 2.00 times as fast as t1"


def test_where_nothing_is_right_nothing_is_called_good() -> None:
    answers = {("m", "Q8_0"): answered([False] * 25)}
    rows = [
        row("m", "Q8_0", "interactive", e2e_mean_s=1.0, tokens_per_s=9.0),
        row("m", "Q8_0", "quality", accuracy=0.0),
    ]
    (only,) = recommendations(rows, answers)
    assert only.why == "1.0 s an answer; fastest; no model answered anything right"


def test_what_slowed_down_and_what_is_doubtful_is_told() -> None:
    rows = [
        row("m", "Q8_0", "stress", kept=0.7, slowed=True, verdict="valid"),
        row("m", "Q8_0", "batch", kept=0.7, verdict="degraded", doubt="so it is"),
    ]
    assert warnings(rows, {}) == [
        "m Q8_0, stress: at the end its answers came at 70 % of the speed of the beginning", "m Q8_0, batch: the verdict is degraded: so it is",
    ]  # fmt: skip


def log(took_ns: list[int]) -> list[dict[str, Any]]:
    return [
        {"sent_ns": 1 + at * 10**9, "end_ns": 1 + at * 10**9 + took, "output_tokens": 10}
        for at, took in enumerate(took_ns)
    ]


def test_a_drift_is_seen_and_chance_is_none() -> None:
    assert drift_of(log([100] * 11)) is None
    slower = drift_of(log([100] * 8 + [200] * 4))
    assert slower is not None
    assert (slower.kept, slower.slowed) == (0.5, True)
    mixed = drift_of(log([100, 300] * 8))
    assert mixed is not None
    assert not mixed.slowed


def test_the_csv_has_a_row_a_cell_and_a_column_a_kind() -> None:
    kinds = [KindShare(kind="maths", asked=4, right=1, accuracy=0.25, ci95=(0.05, 0.7))]
    text = matrix_csv(
        [row("m", "Q8_0", "quality", accuracy=0.25, accuracy_ci95=(0.05, 0.7), kinds=kinds), row("m", "Q8_0", "batch")]
    )
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["accuracy_maths"], first["accuracy_low"], second["accuracy_maths"]) == ("0.25", "0.05", "")
    assert json.loads(first["accuracy"]) == 0.25


# --- one matrix beside another ------------------------------------------------------------------------------------------


def a_matrix(rows: list[MatrixRow], **more: Any) -> MatrixResult:
    return MatrixResult(
        **{
            "id": "m", "started_at": "2030-01-01T00:00:00Z", "ended_at": "2030-01-01T01:00:00Z", "interrupted": False, "depth": "quick",
            "machine": {"client_cpu_model": "A"}, "settings": {"threads": "1"}, "fingerprint": "f", "limits": LIMITS, "recommendations": [],
            "warnings": [], "rows": rows, "servers": [], **more,
        }
    )  # fmt: skip


def saved(path: Path, matrix: MatrixResult) -> str:
    path.write_text(json.dumps(matrix.snake()))
    return str(path)


def test_two_matrices_are_compared_cell_by_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = {"accuracy": 0.9, "right": 90, "asked": 100, "accuracy_ci95": (0.83, 0.94)}
    wrong = {"accuracy": 0.5, "right": 50, "asked": 100, "accuracy_ci95": (0.40, 0.60)}
    old = a_matrix(
        [
            row("m", "Q8_0", "batch", tokens_per_s=10.0, ttft_mean_s=1.0),
            row("m", "Q8_0", "quality", **right),
            row("m", "Q4_0", "quality", **right),
        ]
    )
    new = a_matrix(
        [row("m", "Q8_0", "batch", tokens_per_s=15.0, ttft_mean_s=0.5), row("m", "Q8_0", "quality", **wrong), row("m", "Q4_0", "quality", **right)],
        machine={"client_cpu_model": "B"},
    )  # fmt: skip
    files = saved(tmp_path / "a_results.json", old), saved(tmp_path / "b_results.json", new)
    assert tokenmark("compare", *files) == 0
    shown = capsys.readouterr().out
    assert "A, threads 1  ->  B, threads 1" in shown
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines() if line.startswith("m-")}
    assert lines["m-Q8_0-batch"] == "-50 % +50 % – – –"
    assert lines["m-Q8_0-quality"] == "– – – – 90/100 to 50/100"
    assert lines["m-Q4_0-quality"] == "– – – – 90/100 to 90/100, a tie"


def test_matrices_of_other_cells_are_refused_and_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = a_matrix([row("m", "Q8_0", "batch")]), a_matrix([row("m", "Q4_0", "batch")], fingerprint="g")
    files = saved(tmp_path / "a_results.json", old), saved(tmp_path / "b_results.json", new)
    assert tokenmark("compare", *files) == 2
    assert "not of the same cells: m-Q4_0-batch, m-Q8_0-batch are in one alone" in capsys.readouterr().err
    assert tokenmark("compare", *files, "--force") == 0
    assert "compared all the same" in capsys.readouterr().out


def test_for_machines_of_less_memory_there_is_another_choice() -> None:
    answers = {
        ("big", "Q8_0"): answered([True] * 90 + [False] * 10),
        ("small", "Q8_0"): answered([True] * 50 + [False] * 50),
    }
    rows = [
        row(model, "Q8_0", "batch", held_bytes=size * GB, tokens_per_s=9.0)
        for model, size in (("big", 12), ("small", 2))
    ]
    found = {each.use: each.model for each in recommendations(rows, answers) if each.use.endswith("GB")}
    assert found == {"4 GB": "small", "16 GB": "big"}
