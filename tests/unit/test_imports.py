"""Results of other tools: files that those tools wrote, read again. Where a file holds both every request and the tool's own
summary, what is worked out here of the requests is held against what the tool printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench_runner.formats.importing.found import Found, FoundStage
from bench_runner.formats.importing.registry import NAMES, TOOLS, read_foreign
from tests.support.commands import tokenmark
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult

FOREIGN = Path(__file__).parent / "foreign"
FILES = sorted(path.name for path in FOREIGN.iterdir())
OF_TOOL = {
    "aiperf": "aiperf",
    "guidellm": "guidellm",
    "inference-perf": "inference-perf",
    "k6": "k6",
    "llama-bench": "llama-bench",
    "vllm": "vllm",
}


def document(name: str) -> Any:
    return json.loads((FOREIGN / name).read_text())


def found(name: str) -> Found:
    return read_foreign((FOREIGN / name).read_bytes(), name)


def stage(name: str) -> FoundStage:
    return found(name).repetitions[0][0]


def imported(tmp_path: Path, *names: str, name: str = "x", more: tuple[str, ...] = ()) -> RunResult:
    assert (
        tokenmark("import", *(str(FOREIGN / each) for each in names), "--out", str(tmp_path), "--name", name, *more)
        == 0
    )
    return RunResult.model_validate_json((tmp_path / name / "result.json").read_text())


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_known_by_its_tool_alone_and_becomes_a_result_whose_verdict_is_unknown(
    name: str, tmp_path: Path
) -> None:
    tool = next(word for word in OF_TOOL if name.startswith(word))
    content = (FOREIGN / name).read_bytes()
    assert read_foreign(content, name, tool).tool == read_foreign(content, name).tool
    for other in set(NAMES) - {tool}:
        with pytest.raises(InvalidInput, match=f"no file of {other}"):
            read_foreign(content, name, other)
    result = imported(tmp_path, name)
    assert (result.verdict.state, result.verdict.reasons[0].code) == ("unknown", "imported")
    assert result.imported is not None
    assert list(result.imported.files) == [name]
    assert all(each.client is None and each.requests.due >= each.requests.sent > 0 for each in result.stages)
    assert result.provenance.stamps is result.provenance.seed is None


def test_a_tool_is_a_row_and_each_has_a_file_here() -> None:
    assert {tool.name for tool in TOOLS} == set(OF_TOOL)
    assert all(any(name.startswith(tool) for name in FILES) for tool in OF_TOOL)


@pytest.mark.parametrize("name", ["vllm-0.33.0-detailed.json", "vllm-0.11.0-detailed.json"])
def test_vllm_bench_prints_what_its_requests_come_to_here(name: str) -> None:
    said, values = document(name), stage(name).values
    for word, ours in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "chunk_gap")):
        assert 1000 * mean(values[ours]) == pytest.approx(said[f"mean_{word}_ms"], rel=1e-4)
    if "mean_e2el_ms" in said:
        assert 1000 * mean(values["e2e"]) == pytest.approx(said["mean_e2el_ms"], rel=1e-6)
    assert len(values["ttft"]) == said["completed"] == stage(name).succeeded


def test_a_stream_that_broke_off_is_a_failure_though_vllm_bench_kept_its_first_token() -> None:
    said, ours = document("vllm-0.33.0-detailed.json"), stage("vllm-0.33.0-detailed.json")
    broken = [k for k, error in enumerate(said["errors"]) if error and said["ttfts"][k] > 0]
    assert broken
    assert said["ttfts"][broken[0]] not in ours.values["ttft"]
    assert (ours.succeeded, ours.failed, ours.errors) == (6, 2, {"other": 2})


def test_without_its_requests_vllm_bench_tells_a_summary_and_a_load_that_has_no_name() -> None:
    said, ours = document("vllm-0.33.0-plain.json"), stage("vllm-0.33.0-plain.json")
    assert (ours.name, ours.load, ours.values) == ("all", None, {})
    assert ours.summaries["ttft"].p50 == pytest.approx(said["median_ttft_ms"] / 1000)
    assert ours.summaries["tpot"].p99 == pytest.approx(said["p99_tpot_ms"] / 1000)
    assert "e2e" not in ours.summaries


def test_aiperf_prints_what_its_records_come_to_here_without_its_warm_up() -> None:
    said, ours = document("aiperf-0.13.0-rate.json"), stage("aiperf-0.13.0-rate.jsonl")
    for word, metric in (
        ("time_to_first_token", "ttft"),
        ("inter_token_latency", "tpot"),
        ("request_latency", "e2e"),
        ("inter_chunk_latency", "chunk_gap"),
    ):
        assert 1000 * mean(ours.values[metric]) == pytest.approx(said[word]["avg"], rel=1e-6)
        assert len(ours.values[metric]) == said[word]["count"]
    assert (ours.succeeded, ours.failed, ours.errors) == (6, 4, {"Error 503": 4})
    summary = stage("aiperf-0.13.0-rate.json")
    assert (summary.name, summary.sent, summary.output_tokens, summary.goodput) == ("r20", 10, 192, 0.6)


def test_guidellm_says_tpot_where_this_tool_says_something_else() -> None:
    said, ours = document("guidellm-0.8.1-rate.json"), stage("guidellm-0.8.1-rate.json")
    metrics = said["benchmarks"][0]["metrics"]
    assert 1000 * mean(ours.values["ttft"]) == pytest.approx(
        metrics["time_to_first_token_ms"]["successful"]["mean"], rel=1e-6
    )
    assert 1000 * mean(ours.values["tpot"]) == pytest.approx(
        metrics["inter_token_latency_ms"]["successful"]["mean"], rel=1e-6
    )
    assert 1000 * mean(ours.values["tpot"]) < 0.95 * metrics["time_per_output_token_ms"]["successful"]["mean"]
    assert mean(ours.values["e2e"]) < metrics["request_latency"]["successful"]["mean"]  # that ends with the stream
    assert found("guidellm-0.8.1-rate.json").refused.keys() == {"time_per_output_token_ms"}
    assert "e2e" not in found("guidellm-0.8.1-rate.json").definitions


def test_a_sample_of_its_requests_is_not_the_run() -> None:
    """Three of eight requests are in the file: the summary over all of them counts."""
    tool, one = found("guidellm-0.8.1-concurrent.json"), stage("guidellm-0.8.1-concurrent.json")
    assert [each.name for each in tool.repetitions[0]] == ["c1", "c3"]
    assert (one.values, one.summaries["ttft"].count) == ({}, 8)
    assert tool.definitions["e2e"].endswith("here it is to the last text")
    assert stage("guidellm-0.3.1-concurrent.json").summaries["tpot"].mean == pytest.approx(
        document("guidellm-0.3.1-concurrent.json")["benchmarks"][0]["metrics"]["inter_token_latency_ms"]["successful"][
            "mean"
        ]
        / 1000
    )


def test_stages_of_inference_perf_come_in_as_files_and_go_out_as_stages(tmp_path: Path) -> None:
    result = imported(tmp_path, "inference-perf-0.7.0-stage-0.json", "inference-perf-0.7.0-stage-1.json")
    assert [(each.name, each.requests.sent) for each in result.stages] == [("r10", 10), ("r4", 4)]
    said = document("inference-perf-0.7.0-stage-0.json")["successes"]["latency"]
    assert result.stages[0].metrics["ttft"].p50 == said["time_to_first_token"]["median"]
    assert result.stages[0].metrics["itl"].count == 0
    assert {"p95", "p99"} <= set(result.stages[0].metrics["ttft"].withheld)  # of ten answers


def test_a_closed_loop_of_inference_perf_has_streams_and_no_rate() -> None:
    ours = stage("inference-perf-0.7.0-concurrent.json")
    assert ours.load is not None
    assert (ours.name, ours.load.request_rate, ours.failed, ours.errors) == (
        "c2",
        None,
        2,
        {"503 - Service Unavailable": 2},
    )


def test_samples_of_llama_bench_are_repetitions_and_no_ttft() -> None:
    said, ours = document("llama-bench-0.7.0.json"), found("llama-bench-0.7.0.json")
    assert len(ours.repetitions) == 3
    assert [each.name for each in ours.repetitions[0]] == ["pp32", "tg4", "pp32-d16", "tg4-d16"]  # and not the mixture
    tg = next(test for test in said if test["n_gen"] == 4 and not test["n_prompt"] and not test["n_depth"])
    speeds = [take[1].values["decode_tokens_per_s"][0] for take in ours.repetitions]
    assert speeds == pytest.approx(tg["samples_ts"], rel=1e-4)
    assert ours.repetitions[0][1].values["tpot"][0] == pytest.approx(1 / speeds[0])
    assert "ttft" not in ours.repetitions[0][0].values


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("k6")])
def test_k6_says_passed_of_requests_that_failed(name: str) -> None:
    ours = stage(name)
    assert ours.failed == 3
    assert ours.sent == ours.succeeded + ours.failed
    assert ours.duration_s == pytest.approx(3.05, abs=0.1)
    assert ours.requests_per_s == pytest.approx(ours.succeeded / ours.duration_s)
    assert ours.summaries["e2e"].p50 == pytest.approx(0.141, abs=0.003)
    assert ours.output_tokens is None


def test_files_of_the_same_load_are_repetitions(tmp_path: Path) -> None:
    for k, factor in enumerate((1.0, 1.1, 1.2)):
        said = document("vllm-0.33.0-detailed.json")
        said["ttfts"] = [factor * value for value in said["ttfts"]]
        (tmp_path / f"run-{k}.json").write_text(json.dumps(said))
    result = imported(tmp_path, *(str(tmp_path / f"run-{k}.json") for k in range(3)))
    assert (result.run.repetitions, [rep.succeeded for rep in result.stages[0].repetitions]) == (3, [6, 6, 6])
    assert result.stages[0].metrics["ttft"].count == 18
    assert result.stages[0].throughput.requests_per_s == pytest.approx(
        document("vllm-0.33.0-detailed.json")["request_throughput"]
    )


def test_summaries_pool_to_a_mean_and_to_no_percentile(tmp_path: Path) -> None:
    first = document("inference-perf-0.7.0-stage-0.json")
    first["successes"]["latency"]["time_to_first_token"]["mean"] *= 2
    (tmp_path / "again.json").write_text(json.dumps(first))
    result = imported(tmp_path, "inference-perf-0.7.0-stage-0.json", str(tmp_path / "again.json"))
    stat = result.stages[0].metrics["ttft"]
    assert stat.mean == pytest.approx(1.5 * first["successes"]["latency"]["time_to_first_token"]["mean"] / 2)
    assert (stat.count, stat.p50) == (20, None)
    assert all(rep.metrics["ttft"].p50 is not None for rep in result.stages[0].repetitions)


def test_what_is_not_one_run_is_refused_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = document("vllm-0.33.0-detailed.json")
    said["model_id"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(said))
    first = str(FOREIGN / "vllm-0.33.0-detailed.json")
    assert tokenmark("import", first, str(tmp_path / "other.json"), "--out", str(tmp_path)) == 2
    assert re.search(
        r"other.json is not a repetition of .*model: .* \| another; import them as two runs", capsys.readouterr().err
    )
    assert tokenmark("import", first, str(FOREIGN / "k6-export-new-1.8.1.json"), "--out", str(tmp_path)) == 2
    assert "tool: vLLM bench | k6" in capsys.readouterr().err
    assert not (tmp_path / "vllm-0-33-0-detailed").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is neither JSON nor JSON lines"),
        ("[\n", "is neither JSON nor JSON lines"),
        ("[1, 2]", "is no file of a tool that is known"),
        ('{"a": 1}', "is no file of a tool that is known"),
        ('{"benchmarks": [{"type_": "generative_benchmark"}]}', "it lacks metrics"),
        ('{"request_throughput": 1, "total_output_tokens": 1, "num_prompts": "x", "completed": 3}', "are no numbers"),
        ('{"metrics": {"http_reqs": {"count": 0}}}', "no request was made"),
        ('{"aiperf_version": "1", "request_count": 7}', "is not as its tool writes it"),
        ('{"load_summary": {}, "successes": {"count": null}, "failures": {"count": 0}}', "are no numbers"),
        ('[{"n_prompt": 8, "n_gen": 0, "avg_ns": 1, "avg_ts": 1, "build_commit": "b", "samples_ns": []}]', "has no samples_ns"),
        ('[{"n_prompt": 8, "n_gen": 8, "avg_ns": 1, "avg_ts": 1, "build_commit": "b", "samples_ns": [1]}]', "no test of a prompt alone"),
        ("[" * 100_000, "is neither JSON nor JSON lines"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"^f: .*|^f is .*|{said}") as caught:
        read_foreign(text.encode(), "f")
    assert said in str(caught.value)
    assert str(caught.value).startswith("f")


def test_numbers_that_are_none_stay_unknown() -> None:
    said = document("vllm-0.33.0-plain.json")
    said["duration"] = float("nan")
    said["mean_ttft_ms"] = float("inf")
    ours = read_foreign(json.dumps(said).encode(), "f").repetitions[0][0]
    assert ours.duration_s is None
    assert "ttft" not in ours.summaries


def test_an_imported_run_is_compared_when_forced_and_says_why_not_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old", "new"):
        imported(tmp_path, *["vllm-0.33.0-detailed.json"], name=name)
    both = [str(tmp_path / "old"), str(tmp_path / "new")]
    assert tokenmark("compare", *both) == 2
    assert "old (baseline) was measured by vLLM bench: its verdict is unknown" in capsys.readouterr().err
    assert tokenmark("compare", *both, "--force") == 0
    shown = capsys.readouterr().out
    assert "measured by vLLM bench" in shown
    assert "chunk_gap" not in shown
    assert tokenmark("baseline", "set", "b", both[0], "--in", str(tmp_path / "b")) == 2
    assert "unknown: only a valid run becomes a baseline" in capsys.readouterr().err


def test_an_imported_run_is_listed_reported_and_priced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported(tmp_path, "vllm-0.33.0-detailed.json", more=("--provider", "beta", "--engine", "vllm"))
    capsys.readouterr()
    assert tokenmark("runs", "--in", str(tmp_path), "--status", "unknown") == 0
    assert "vllm meta-llama/Llama-3.1-8B-Instruct" in capsys.readouterr().out
    assert tokenmark("report", str(tmp_path / "x"), "--out", str(tmp_path / "report")) == 0
    page = (tmp_path / "report" / "report.md").read_text()
    assert "**unknown**" in page
    assert "its own error was not measured" in page


# --- what must not pass for the same work, or for a value -----------------------------------------------------------


def changed(tmp_path: Path, name: str, file: str, **changes: Any) -> str:
    (tmp_path / file).write_text(json.dumps({**document(name), **changes}))
    return str(tmp_path / file)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("vllm-0.33.0-plain.json", {"request_rate": 20.0, "max_concurrency": 3}, "max_concurrency: None | 3"),
        ("vllm-0.33.0-detailed.json", {"total_input_tokens": 40_000}, "prompts have .* tokens in one file and .* in another"),
    ],
)  # fmt: skip
def test_other_work_is_no_repetition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, changes: dict[str, Any], said: str
) -> None:
    base = changed(
        tmp_path,
        name,
        "base.json",
        **{key: document(name).get(key) if key != "request_rate" else v for key, v in changes.items()},
    )
    other = changed(tmp_path, name, "other.json", **changes)
    assert tokenmark("import", base, other, "--out", str(tmp_path)) == 2
    assert re.search(said.replace("|", r"\|"), capsys.readouterr().err)


def test_llama_bench_with_and_without_flash_attention_is_not_the_same_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = [{**test, "flash_attn": not test.get("flash_attn")} for test in document("llama-bench-0.7.0.json")]
    (tmp_path / "other.json").write_text(json.dumps(tests))
    assert tokenmark("import", str(FOREIGN / "llama-bench-0.7.0.json"), str(tmp_path / "other.json")) == 2
    assert "is not a repetition" in capsys.readouterr().err


def test_files_that_do_not_tell_their_load_are_repetitions_when_somebody_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = changed(tmp_path, "k6-export-new-1.8.1.json", "again.json")
    assert tokenmark("import", str(FOREIGN / "k6-export-new-1.8.1.json"), again, "--out", str(tmp_path)) == 2
    assert "k6's files do not tell their load" in capsys.readouterr().err
    result = imported(tmp_path, "k6-export-new-1.8.1.json", again, more=("--one-work",))
    assert result.run.repetitions == 2


def test_a_repetition_without_an_answer_leaves_the_others_their_values(tmp_path: Path) -> None:
    empty = changed(
        tmp_path, "vllm-0.33.0-detailed.json", "empty.json", completed=0, failed=6, ttfts=[], itls=[], total_input_tokens=0
    )  # fmt: skip
    stat = imported(tmp_path, "vllm-0.33.0-detailed.json", empty).stages[0].metrics["ttft"]
    assert (stat.count, stat.mean) == (6, pytest.approx(mean(stage("vllm-0.33.0-detailed.json").values["ttft"])))


def test_of_values_and_a_summary_the_mean_is_known(tmp_path: Path) -> None:
    said = document("vllm-0.33.0-detailed.json")
    plain = {
        key: value for key, value in said.items() if key not in ("ttfts", "itls", "output_lens", "errors", "latencies")
    }
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    stat = imported(tmp_path, "vllm-0.33.0-detailed.json", str(tmp_path / "plain.json")).stages[0].metrics["ttft"]
    assert stat.count == 12
    assert stat.mean == pytest.approx(said["mean_ttft_ms"] / 1000, rel=0.01)


def test_a_nought_that_stands_for_nothing_is_absent(tmp_path: Path) -> None:
    """vLLM writes 0 where no answer had a second token."""
    zeros = {f"{what}_{word}_ms": 0.0 for word in ("tpot", "itl") for what in ("mean", "median", "std", "p99")}
    result = imported(tmp_path, changed(tmp_path, "vllm-0.33.0-plain.json", "one.json", **zeros))
    metrics = result.stages[0].metrics
    assert (metrics["tpot"].count, metrics["tpot"].p50, metrics["chunk_gap"].count) == (0, None, 0)
    assert metrics["ttft"].count > 0


def test_how_arrivals_were_spaced_is_said() -> None:
    arrivals = {
        name: [each.load.arrival for each in found(name).repetitions[0] if each.load is not None]
        for name in ("aiperf-0.13.0-rate.json", "guidellm-0.8.1-rate.json", "inference-perf-0.7.0-stage-0.json")
    }
    assert arrivals == {
        "aiperf-0.13.0-rate.json": ["Poisson"], "guidellm-0.8.1-rate.json": ["Constant"], "inference-perf-0.7.0-stage-0.json": [None],
    }  # fmt: skip
    bursts = {**document("vllm-0.33.0-plain.json"), "request_rate": 20.0, "burstiness": 0.5}
    load = read_foreign(json.dumps(bursts).encode(), "f").repetitions[0][0].load
    assert load is not None
    assert (load.arrival, load.burstiness) == ("Gamma", "0.5")


def test_an_older_aiperf_tells_its_load_elsewhere_and_no_counts() -> None:
    said = document("aiperf-0.13.0-rate.json")
    said = {
        key: {k: v for k, v in value.items() if k != "count"} if isinstance(value, dict) else value
        for key, value in said.items()
    }
    said |= {"schema_version": "1.0", "aiperf_version": "0.7.0", "was_cancelled": True, "input_config": {
        "endpoint": {"model_names": ["sim"]}, "loadgen": {"concurrency": 4},
    }}  # fmt: skip
    ours = read_foreign(json.dumps(said).encode(), "f")
    only = ours.repetitions[0][0]
    assert (ours.model, only.name, ours.interrupted) == ("sim", "c4", True)
    assert only.summaries["ttft"].count == only.succeeded
    assert "chunk_gap" not in only.summaries, "how many gaps there were nobody can tell"


def test_k6_without_its_failures_is_refused() -> None:
    said = document("k6-export-new-1.8.1.json")
    text = json.dumps(said).replace("http_req_failed", "http_req_gone")
    with pytest.raises(InvalidInput, match="lacks http_req_failed"):
        read_foreign(text.encode(), "f")


def test_llama_bench_ends_after_its_samples(tmp_path: Path) -> None:
    run = imported(tmp_path, "llama-bench-0.7.0.json").run
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.ended_at > run.started_at


def test_what_no_file_tells_is_null(tmp_path: Path) -> None:
    only = imported(tmp_path, "k6-export-new-1.8.1.json").stages[0]
    assert (only.tokens.reasoning, only.tokens.asked, only.requests.unstreamed, only.requests.failing_most) == (
        None,
    ) * 4


def test_a_header_of_another_type_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed(tmp_path, "guidellm-0.8.1-rate.json", "odd.json", metadata={"guidellm_version": {"a": 8}})
    assert tokenmark("import", file, "--out", str(tmp_path)) == 2
    assert "is not as its tool writes it" in capsys.readouterr().err


def test_the_number_of_requests_is_no_part_of_the_work(tmp_path: Path) -> None:
    longer = changed(tmp_path, "vllm-0.33.0-plain.json", "longer.json", num_prompts=60, max_concurrency=2)
    shorter = changed(tmp_path, "vllm-0.33.0-plain.json", "shorter.json", max_concurrency=2)
    prints = {imported(tmp_path, each, name=f"n{k}").provenance.fingerprint for k, each in enumerate((longer, shorter))}
    assert len(prints) == 1
