"""Every mistake on the command line ends in a sentence with what, where and what to do: code 2, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench_runner import cli
from bench_runner.storage.run_folder import run_folder

HEAD = "apiVersion: tokenmark.dev/v1alpha1\nkind: BenchmarkRun\nmetadata: {name: t}\nspec:\n"
TARGET = "  target: {model: m, endpoint: {url: 'http://127.0.0.1:9'}}\n"
RUN = ["run", "--target", "http://127.0.0.1:9", "--model", "m"]

FLAGS: list[tuple[list[str], str]] = [
    (["run"], "--target is missing"),
    (["run", "--target", "http://127.0.0.1:9"], "--model is missing"),
    ([*RUN, "--engine", "gpt"], "--engine"),
    ([*RUN, "--concurrency", "1,x"], "'x' is not a number above 0; write for example --concurrency 1,8,64"),
    ([*RUN, "--concurrency", "1", "--rate", "2"], "exclude each other"),
    ([*RUN, "--duration", "5"], "need --concurrency or --rate"),
    ([*RUN, "--objective", "ttft<800"], "such as ttft:p99<=800ms"),
    ([*RUN, "--objective", "ttft:p99>=800ms"], "times and errors take <="),
    ([*RUN, "--objective", "speed:p99<=800ms"], "objectives[0].metric"),
    ([*RUN, "--workload", "chat-standrd"], "did you mean chat-standard?"),
    ([*RUN, "--workload", "no/such.yaml"], "no/such.yaml does not exist; check the path"),
    ([*RUN, "--detail", "everything"], "--detail"),
    ([*RUN, "--label", "a"], "expected KEY=VALUE"),
    ([*RUN, "--format", "xml"], "choose table or json"),
    ([*RUN, "--workers", "65"], "execution.workers"),
    ([*RUN, "--prompts", "no.jsonl"], "--prompts no.jsonl: No such file or directory"),
    (["run", "--target", "http://u:p@h", "--model", "m"], "must not contain user information"),
    ([*RUN, "--token-env", "TOKENMARK_NO_SUCH"], "TOKENMARK_NO_SUCH should hold the API token and is empty"),
    ([*RUN, "--engine", "postgres"], "postgresql://host:5432 for engine postgres"),
    ([*RUN, "--engine", "pgvector"], "--engine pgvector: choose openai, openai-completions, vllm"),
    ([*RUN, "--rate", "2", "--arrival", "gamma"], "burstiness is the shape of arrival Gamma"),
    (["run", "--target", "http://h:99999", "--model", "m"], "write for example http://host:8000"),
    (["run", "--target", "http://h:abc", "--model", "m"], "write for example http://host:8000"),
    (["run", "--target", "http://[::1", "--model", "m"], "write for example http://host:8000"),
    (["run", "--target", "http://h:8000/?key=1", "--model", "m"], "a query would be left out"),
    (["explain", "tpott"], "tpot"),
    ([*RUN, "--arrival", "poisson"], "--arrival describes --rate: give one"),
    ([*RUN, "--ramp-to", "50"], "--ramp-to describes --rate: give one"),
    ([*RUN, "--trace-speedup", "2"], "--trace-speedup is for --trace"),
    ([*RUN, "--find", "max-rate", "--concurrency", "3"], "begins at a --rate"),
    ([*RUN, "--workload", "smoke", "--input-tokens", "20"], "--workload brings its own prompts"),
    ([*RUN, "--ca-file", "x.pem"], "the target is plain http"),
    ([*RUN, "--name", "../../escape"], "--name ../../escape: use lower-case letters"),
    ([*RUN, "--objective", "errors:mean<=0.05%"], "limits go in steps of 0.1 %"),
    ([*RUN, "--objective", "ttft:p99<=0ms"], "give a limit above 0"),
    ([*RUN, "--turns", "3"], "need --input-tokens or --prompts"),
    (["sim", "--listen", "127.0.0.1:0", "--truth", "/proc/x"], "--truth /proc/x cannot be written"),
    (["validate", "missing.yaml"], "missing.yaml does not exist"),
]

DOCUMENTS: list[tuple[str, str]] = [
    ("", "holds no document"),
    ("just text", "expected a mapping at the top"),
    ("a: [1", "not YAML"),
    ("kind: BenchmarkRunn", "did you mean BenchmarkRun?"),
    ("a: 1", "neither kind"),
    (HEAD + "  target: {model: m}\n", "5: spec.target: set exactly one of endpoint, serviceRef"),
    (HEAD + TARGET + "  repetitons: 3\n", "6: spec.repetitons: unknown field; did you mean repetitions?"),
    (HEAD + TARGET + "  repetitions: many\n", "6: spec.repetitions: input should be a valid integer"),
    (HEAD + TARGET + "  repetitions: 3\n  repetitions: 4\n", "7: repetitions: stands twice; keep one of them"),
    (HEAD + TARGET + "  stages:\n  - {name: a, concurrency: 1}\n", "spec.stages[0]: set durationSeconds or requestCount"),
    (HEAD + TARGET + "  stages:\n  - {name: A, concurrency: 1, requestCount: 1}\n", "7: spec.stages[0].name"),
    (HEAD + "  {a: b\n", "not YAML"),
    ("schema_version: workload/v1\nname: w\n", "question: is required and missing"),
    ("[" * 50_000, "nested more than 64 deep"),
    ("- " * 50_000, "nested more than 64 deep"),
    ("a: &a {x: 1}\nb: {<<: *a}", "merge keys (<<) are not taken"),
    ("a: &a 1\nb: [" + "*a," * 300 + "]", "more than 200 aliases"),
    ("a: 2024-99-99", "YAML cannot read"),
    ("a: !!int abc", "YAML cannot read"),
    ("kind: BenchmarkRunn\n---\n", "did you mean BenchmarkRun?"),
    (HEAD + "  target: {engine: postgres, model: m, endpoint: {url: 'http://h:1'}}\n", "spec.target.endpoint: postgresql://host:5432 for engine postgres"),
    (HEAD + TARGET + "  workloadRef: {name: chat-standrd}\n", "spec.workloadRef.name: there is no built-in workload"),
    ('{"schema_version": "run-result/v1"}', "run: is required and missing"),
]  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


@pytest.mark.parametrize(("words", "message"), FLAGS, ids=lambda v: " ".join(v)[-48:] if isinstance(v, list) else "")
def test_a_wrong_flag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(("text", "message"), DOCUMENTS, ids=lambda v: v[-40:])
def test_a_wrong_document_is_told_with_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text(text)
    code, _, err = said(capsys, ["validate", str(path)])
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_binary_and_unreadable_files_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bin").write_bytes(bytes(range(256)))
    assert "not UTF-8" in said(capsys, ["validate", str(tmp_path / "bin")])[2]
    assert "cannot be read" in said(capsys, ["validate", str(tmp_path)])[2]


def test_a_target_that_refuses_is_code_5_in_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*RUN, "--out", str(tmp_path), "--quiet", "--concurrency", "1", "--requests", "1"]
    code, _, err = said(capsys, words)
    assert code == 5
    assert "127.0.0.1:9" in err
    assert len(err.strip().splitlines()) == 1


def test_a_name_that_is_none_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = said(capsys, ["run", "--target", "http://a..b:1", "--model", "m", "--out", str(tmp_path)])
    assert code == 5
    assert "a..b is no host name" in err


def test_a_name_left_to_the_api_server_is_fine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text((HEAD + TARGET).replace("{name: t}", "{generateName: t-}"))
    with pytest.raises(SystemExit):
        cli.main(["validate", str(path)])
    assert "BenchmarkRun is valid" in capsys.readouterr().out


def test_an_earlier_run_of_the_same_name_is_kept(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "t")
    (folder / "result.json").write_text("{}")
    (folder / "requests.jsonl.gz").write_bytes(b"rows")
    assert list(run_folder(tmp_path, "t").iterdir()) == []
    kept = next(path for path in tmp_path.iterdir() if path.name.startswith("t."))
    assert sorted(path.name for path in kept.iterdir()) == ["requests.jsonl.gz", "result.json"]


@pytest.mark.parametrize(
    ("word", "told"),
    [("TPOT", "tpot = "), ("read_lag", "degraded above 0.005 s"), ("few_samples", "fewer than 100"), (None, "ttft")],
)
def test_every_word_of_a_table_is_explained(capsys: pytest.CaptureFixture[str], word: str | None, told: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(["explain", *([word] if word else [])])
    out = capsys.readouterr().out
    assert told in out
    assert max(map(len, out.splitlines())) <= 96


def test_a_config_that_was_stored_runs_as_it_is_or_not_at_all(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*RUN, "--out", str(tmp_path), "--quiet", "--concurrency", "1", "--requests", "1", "--name", "t"]
    said(capsys, words)
    config = tmp_path / "t" / "config.json"
    assert json.loads(config.read_text())["schema_version"] == "run-config/v1"
    code, _, err = said(capsys, ["run", str(config), "--repetitions", "2"])
    assert code == 2
    assert "exact rerun; --repetitions cannot change it" in err


@pytest.mark.parametrize(
    "words",
    [
        ["--proxy", "http://user:s3cret@proxy:99999999"],
        ["--proxy", "ftp://user:s3cret@proxy:3128"],
        ["--proxy", "http://user:s3c@ret@[proxy"],
    ],
)
def test_no_login_of_an_address_is_ever_printed(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, out, err = said(capsys, [*RUN, *words])
    assert code == 2
    assert "s3c" not in out + err
