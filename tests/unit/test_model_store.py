"""Model files by what they say of themselves; what is no whole one is found before a run."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from gguf import LlamaFileType
from pydantic import ValidationError
from rich.console import Console

from bench_runner.local.gguf_file import read_model_file
from bench_runner.local.listing import table
from bench_runner.local.memory import must_fit, need
from bench_runner.local.store import chosen, held, scan, unlisted
from tests.support import gguf_files
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.local_models import ModelsFile


def a_list(*models: dict[str, Any]) -> ModelsFile:
    return ModelsFile.model_validate({"models": list(models) or [{"name": "gemma-3-270m"}]})


def test_a_file_tells_of_itself(tmp_path: Path) -> None:
    found = read_model_file(gguf_files.write(tmp_path / "whatever.gguf"))
    assert (found.name, found.architecture, found.quantization) == ("gemma-3 270M", "gemma3", "Q8_0")
    assert (found.context, found.layers, found.heads_kv, found.key_length) == (8192, 2, (2, 2), 16)
    assert found.parameters == 8 * 64 + 2 * 128 * 64
    assert found.weights == {"F32": 8 * 64 * 4, "Q8_0": 2 * 128 * 2 * 34}
    assert (found.vocabulary, found.chat_template) == (5000, True)


def test_a_long_vocabulary_takes_no_time(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "large.gguf", tokens=300_000)
    began = time.process_time()
    assert read_model_file(path).vocabulary == 300_000
    assert time.process_time() - began < 2, "half a minute where every token is looked at"


def test_a_quantisation_that_is_not_said_is_that_of_most_weights(tmp_path: Path) -> None:
    assert read_model_file(gguf_files.write(tmp_path / "a.gguf", file_type=None)).quantization == "Q8_0"
    said = gguf_files.write(tmp_path / "b.gguf", file_type=LlamaFileType.MOSTLY_Q4_K_M)
    assert read_model_file(said).quantization == "Q4_K_M"


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.02, 0.5, 0.97, 0.999])
def test_a_file_that_was_cut_off_anywhere_is_none(share: float, tmp_path: Path) -> None:
    whole = gguf_files.write(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InvalidInput, match=r"cut\.gguf (is no whole GGUF file|cannot be read)"):
        read_model_file(tmp_path / "cut.gguf")


@pytest.mark.parametrize("content", [b"GGUF", b"not a model at all", b"GGUF\x03\0\0\0" + b"\xff" * 200])
def test_what_is_no_model_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InvalidInput, match="get it again"):
        read_model_file(tmp_path / "x.gguf")


def test_models_of_a_list_are_found_by_their_own_names_and_not_by_those_of_files(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "llama-70b.Q4_K_M.gguf")  # which it is not
    gguf_files.write(
        tmp_path / "below" / "b.gguf", file_type=LlamaFileType.MOSTLY_Q4_K_M, basename=None, name="Gemma 3 270m"
    )
    gguf_files.write(tmp_path / "gemma-3-270m.gguf", basename="qwen", size_label="0.5B")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    found = scan(tmp_path)
    assert list(found.broken) == [tmp_path / "broken.gguf"]
    (model,) = held(a_list(), found, tmp_path)
    assert {word: file.path.name for word, file in model.files.items()} == {
        "Q8_0": "llama-70b.Q4_K_M.gguf",
        "Q4_K_M": "b.gguf",
    }
    assert [file.name for file in unlisted(a_list(), found, tmp_path)] == ["qwen 0.5B"]


def test_a_file_that_says_no_name_can_be_named_and_is_still_asked_what_it_is(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "a.gguf", basename=None, size_label=None)
    listed = a_list({"name": "mine", "files": {"Q8_0": "a.gguf", "Q4_K_M": "a.gguf", "Q2_K": "b.gguf"}})
    (model,) = held(listed, scan(tmp_path), tmp_path)
    assert list(model.files) == ["Q8_0"]
    assert model.problems == (f"{tmp_path}/a.gguf is Q8_0, not Q4_K_M", f"{tmp_path}/b.gguf does not exist")
    assert model.missing == ("Q4_K_M", "Q2_K")


def test_a_model_that_was_made_for_something_is_another_than_what_it_was_made_of(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "base.gguf")
    gguf_files.write(tmp_path / "it.gguf", finetune="it")
    base, made = held(a_list({"name": "gemma-3-270m"}, {"name": "gemma-3-270m-it"}), scan(tmp_path), tmp_path)
    assert (base.files["Q8_0"].path.name, made.files["Q8_0"].path.name) == ("base.gguf", "it.gguf")
    assert base.problems == made.problems == ()


def test_what_was_pulled_is_held_whatever_it_calls_itself(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "a.gguf", basename="other", size_label="1B")
    hub = {"repo": "a/b", "files": {"Q8_0": {"file": "quants/a.gguf"}}}
    (model,) = held(a_list({"name": "mine", "hub": hub}), scan(tmp_path), tmp_path)
    assert (list(model.files), model.missing) == (["Q8_0"], ())


def test_files_that_are_no_models_by_themselves_are_neither_models_nor_broken(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "mmproj.gguf", general_type="mmproj")
    gguf_files.write(tmp_path / "part.gguf", parts=3)
    gguf_files.write(tmp_path / "mamba.gguf", heads=0)
    found = scan(tmp_path)
    assert [file.path.name for file in found.files] == ["mamba.gguf"]
    assert (found.broken, len(found.others)) == ({}, 2)
    assert need(found.files[0], 4096).cache == 0


def test_a_name_that_is_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "a.gguf", basename="[/x]\x1b[2J", size_label="1B")
    console = Console(width=120, file=io.StringIO())
    console.print(table([], scan(tmp_path).files, tmp_path, None))
    assert "[/x]?[2J 1B" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_does_not_fit_is_refused_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_model_file(gguf_files.write(tmp_path / "a.gguf"))
    must_fit(model, 4096)
    monkeypatch.setattr("bench_runner.local.memory.free_bytes", lambda: 10**6)
    with pytest.raises(InvalidInput, match=r"a\.gguf needs about 0\.0 GB for 4096 tokens of 2 streams together"):
        must_fit(model, 4096, 2)


def test_two_files_of_one_model_and_quantisation_are_told_apart(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        gguf_files.write(tmp_path / name)
    (model,) = held(a_list(), scan(tmp_path), tmp_path)
    assert model.files["Q8_0"].path.name == "a.gguf"
    assert "b.gguf is left out" in model.problems[0]


def test_what_a_list_may_not_say() -> None:
    with pytest.raises(ValidationError, match="would be called gemma3270m"):
        a_list({"name": "gemma-3-270m"}, {"name": "other", "also_called": ["Gemma 3 270M"]})
    with pytest.raises(ValidationError):
        a_list({"name": "x", "hub": {"repo": "a/b", "files": {"Q8_0": {"file": "a/../../etc/x.gguf"}}}})
    twice = {"Q8_0": {"file": "Q8_0/model.gguf"}, "Q4_K_M": {"file": "Q4_K_M/model.gguf"}}
    with pytest.raises(ValidationError, match=r"two files of the hub would lie at model\.gguf"):
        a_list({"name": "x", "hub": {"repo": "a/b", "files": twice}})
    with pytest.raises(InvalidInput, match="not in the list of models: nobody"):
        chosen([], ["nobody"])


def test_need_follows_the_file_and_the_context(tmp_path: Path) -> None:
    model = read_model_file(gguf_files.write(tmp_path / "a.gguf"))
    small, large = need(model, 256), need(model, 8192)
    of_cell = 2 * 2 * (16 + 16) * 2  # layers, heads, key and value, two bytes
    assert large.cache - small.cache == (8192 - 256) * of_cell
    assert need(model, 8192, parallel=4).cache == large.cache, "places share the context"
    assert small.weights == model.size_bytes
    assert small.total == small.weights + small.repacked + small.cache + small.compute + small.program
