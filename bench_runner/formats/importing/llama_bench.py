"""`llama-bench -o json` or `-o jsonl`, read from ggml-org/llama.cpp tools/llama-bench (0104b151) and from its output (0.7.0).

It measures inside the engine: no server, no requests, no sampling. A test is a stage, a sample of it a repetition. A prompt's
speed is a floor under TTFT and no TTFT; a step of generation is what TPOT is over a stream of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from tokenmark_schemas.errors import InvalidInput

from .found import Found, FoundStage, at, known, label, whole

TOOL = "llama-bench"
NS = 1e9
CORE = {"n_prompt", "n_gen", "avg_ns", "avg_ts", "build_commit"}
DEFINITIONS = {
    "tpot": "time of a generation step inside the engine, one stream, no server before it",
    "decode_tokens_per_s": "n_gen / time of the generation, inside the engine",
    "prefill_tokens_per_s": "n_prompt / time of the prompt, inside the engine; here it is over TTFT",
}
REFUSED = {
    "ttft": "nothing is sampled and nothing is sent: a prompt's time alone is no time to a first token",
    "pp+tg": "the speed of prompt and generation together is neither's",
}
SAME_WORK = (
    "model_type",
    "n_prompt",
    "n_gen",
    "n_depth",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "flash_attn",
    "split_mode",
    "main_gpu",
    "tensor_split",
    "no_kv_offload",
    "use_mmap",
    "n_cpu_moe",
)


def is_ours(document: Any) -> bool:
    found = document[0] if isinstance(document, list) and document else None
    return isinstance(found, Mapping) and set(found) >= CORE


def read(document: Sequence[Mapping[str, Any]]) -> Found:
    """Raises InvalidInput for tests of several models, and for a file without samples (csv and sql have none)."""
    models = sorted({_model(test) for test in document})
    if len(models) > 1:
        raise InvalidInput(f"it holds tests of {len(models)} models ({', '.join(models)}); split it")
    tests = [test for test in document if bool(test.get("n_prompt")) != bool(test.get("n_gen"))]
    if not tests:
        raise InvalidInput("it holds no test of a prompt alone or of generation alone")
    names = _names(tests)
    samples = [known(test.get("samples_ns") or []) for test in tests]
    if any(not each or min(each) <= 0 for each in samples):
        raise InvalidInput("a test in it has no samples_ns; -o json and -o jsonl write them")
    count = min(len(each) for each in samples)
    first = tests[0]
    return Found(
        tool=TOOL, version=str(first["build_commit"]), model=models[0], engine="llamacpp", engine_version=_build(first),
        repetitions=[
            [_stage(name, test, ns[k]) for name, test, ns in zip(names, tests, samples, strict=True)] for k in range(count)
        ],
        started_at=_time(first), ended_at=_end(tests[-1]),
        environment={name: said for name, said in (("client_cpu_model", first.get("cpu_info")), ("gpu_model", first.get("gpu_info"))) if said},
        about={"tests": [{key: test.get(key) for key in SAME_WORK} for test in tests]},
        definitions=DEFINITIONS, refused=REFUSED,
    )  # fmt: skip


def _names(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """`pp512`, `tg128-d4096`; tests that differ in something else are numbered."""
    found: list[str] = []
    for test in tests:
        prompt, depth = whole(test.get("n_prompt")), whole(test.get("n_depth"))
        name = label((f"pp{prompt}" if prompt else f"tg{whole(test.get('n_gen'))}") + (f"-d{depth}" if depth else ""))
        twins = sum(each == name or each.startswith(f"{name}-n") for each in found)
        found.append(f"{name}-n{twins + 1}" if twins else name)
    return found


def _stage(name: str, test: Mapping[str, Any], ns: float) -> FoundStage:
    prompt, generated = whole(test.get("n_prompt")) or 0, whole(test.get("n_gen")) or 0
    values = {"prefill_tokens_per_s": [prompt * NS / ns]} if prompt else {
        "decode_tokens_per_s": [generated * NS / ns], "tpot": [ns / NS / generated],
    }  # fmt: skip
    return FoundStage(
        name=name, sent=1, succeeded=1, failed=0, duration_s=ns / NS, prompt_tokens=prompt or None, output_tokens=generated or None,
        output_tokens_per_s=generated * NS / ns if generated else None, values=values,
    )  # fmt: skip


def _model(test: Mapping[str, Any]) -> str:
    file = PurePosixPath(str(test.get("model_filename", ""))).name
    return str(test.get("model_type") or file or "unknown")


def _build(test: Mapping[str, Any]) -> str | None:
    number = whole(test.get("build_number"))
    return None if number is None else f"{test['build_commit']} ({number})"


def _end(test: Mapping[str, Any]) -> str | None:
    """Its time is when it began; its samples followed."""
    if (began := _time(test)) is None:
        return None
    return at(datetime.fromisoformat(began).timestamp() + sum(known(test.get("samples_ns") or [])) / NS)


def _time(test: Mapping[str, Any]) -> str | None:
    said = test.get("test_time")
    return said if isinstance(said, str) and said.endswith("Z") else None
