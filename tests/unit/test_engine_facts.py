"""What an engine says of itself, from pages as the engines really print them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench_runner.analysis.stoprules import Watch
from bench_runner.load.counters import Tick
from bench_runner.run.watch import Lookout
from bench_runner.target.gauges import Gauge, Reading
from bench_runner.target.http_get import Pages
from bench_runner.target.identity import IDENTITY, identity_of
from bench_runner.target.server_metrics import (
    FACTS,
    STARTED,
    Growth,
    ServerMetrics,
    facts_over,
    growth,
    parse_metrics,
    states,
)
from tests.support.serving import in_thread
from tokenmark_schemas.run import RunTarget
from tokenmark_schemas.stopping import StopRules

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 40.0
vllm:num_preemptions_total{engine="0",model_name="m"} 7.0
vllm:e2e_request_latency_seconds_bucket{le="+Inf",model_name="m"} 12.0
python_info{version="3.12"} 1.0
broken NaN
"""


def test_a_page_is_summed_over_its_labels() -> None:
    found = parse_metrics(VLLM)
    assert found["vllm:num_requests_running"] == 5.0
    assert found["vllm:prefix_cache_queries_total"] == 1000.0
    assert "broken" not in found


def test_counters_give_their_growth_and_the_rest_its_value() -> None:
    before = parse_metrics(VLLM)
    after = {**before, "vllm:prefix_cache_queries_total": 1500.0, "vllm:prefix_cache_hits_total": 45.0}
    found = growth("vllm", before, after).counters
    assert (found["prefix_cache_queries"], found["prefix_cache_hits"]) == (500, 5)
    assert found["preemptions"] == 0
    assert "requests_running" not in found
    assert states("vllm", after) == {"requests_running": 5.0, "kv_cache_usage_ratio": 0.25}


def test_an_older_name_counts_where_the_newer_is_missing() -> None:
    assert states("vllm", {"vllm:gpu_cache_usage_perc": 0.5}) == {"kv_cache_usage_ratio": 0.5}


def test_repetitions_add_their_counters_and_pool_their_readings() -> None:
    readings = [{"requests_running": Gauge(10.0, 2, 8.0)}, {}, {"requests_running": Gauge(2.0, 1, 2.0)}]
    growths = [Growth({"preemptions": 2.0}), Growth({"preemptions": 1.0})]
    assert facts_over(growths, readings) == {
        "preemptions": 3.0, "requests_running": 4.0, "requests_running_peak": 8.0,
    }  # fmt: skip


def test_a_reading_is_taken_soon_then_every_so_often_and_less_often_where_nobody_answers() -> None:
    values = iter([{"queue": 4.0}, None, {"queue": 2.0}])
    now = [0.0]
    reading = Reading(lambda: next(values), every_s=5.0, clock=lambda: now[0])
    for now[0] in (100.0, 100.4, 100.6, 103.0, 105.7, 105.9, 110.8, 115.8):
        reading.look()
    assert reading.gauges["queue"] == Gauge(6.0, 2, 4.0)


def test_nothing_is_read_once_the_load_has_ended() -> None:
    read: list[int] = []
    reading = Reading(lambda: read.append(1) or {"queue": 1.0}, every_s=0.0)  # type: ignore[func-returns-value]
    reading._next = 1.0
    lookout = Lookout(Watch(StopRules(), open_loop=False), [reading])
    lookout.reason(Tick(at_ns=1))
    lookout.reason(Tick(at_ns=2, load_ended=1))
    assert len(read) == 1


@pytest.mark.parametrize(
    ("after", "why"),
    [({STARTED: 2.0, "vllm:prompt_tokens_total": 900.0}, "different times"), ({STARTED: 1.0, "vllm:prompt_tokens_total": 3.0}, "went down")],
)  # fmt: skip
def test_counters_of_another_replica_are_dropped_with_the_reason(after: dict[str, float], why: str) -> None:
    found = growth("vllm", {STARTED: 1.0, "vllm:prompt_tokens_total": 500.0}, after)
    assert (found.counters, why in (found.dropped or "")) == ({}, True)
    assert facts_over([found, Growth({"prompt_tokens": 5.0})], [{}]) is None, "a part of the sum is no sum"


def test_a_reading_that_did_not_come_leaves_no_sum_of_the_rest() -> None:
    page = {"vllm:prompt_tokens_total": 5.0}
    assert "did not come" in (growth("vllm", page, None).dropped or "")
    assert facts_over([Growth({"prompt_tokens": 5.0}), growth("vllm", page, None)], [{}]) is None
    assert facts_over([Growth({"prompt_tokens": 5.0}), Growth()], [{}]) is None


def test_tgis_counter_survives_the_parser() -> None:
    page = "# TYPE tgi_request_count counter\ntgi_request_count 7\n"
    after = parse_metrics(page.replace("7", "9"))
    assert growth("tgi", parse_metrics(page), after).counters == {"requests": 2.0}


def test_a_label_may_hold_braces_and_half_a_page_is_none() -> None:
    assert parse_metrics('vllm:num_requests_running{model_name="{a}"} 3\n') == {"vllm:num_requests_running": 3.0}
    assert parse_metrics('vllm:num_requests_running{model_name="a"} 3\nvllm:num_requests_waiting{model_na') == {}


def test_silence_is_no_fact() -> None:
    assert growth("vllm", None, {}) == Growth()
    assert states("vllm", None) == {}
    assert growth("openai", None, None) == Growth()
    assert facts_over([Growth()], [{}]) is None


ANSWERS = {
    "/version": {"version": "0.33.0"},
    "/v1/models": {"data": [{"id": "m", "max_model_len": 8192}]},
    "/api/version": {"version": "0.12.3"},
    "/api/ps": {"models": [{"name": "gemma3:270m", "context_length": 4096, "details": {"quantization_level": "Q8_0"}}]},
    "/props": {"build_info": "b6000", "model_path": "/m.gguf", "default_generation_settings": {"n_ctx": 2048}},
    "/info": {"version": "3.3.0", "model_id": "m", "max_total_tokens": 4096, "model_dtype": "float16"},
    "/get_server_info": {"version": "0.5.1", "quantization": "fp8", "dtype": "auto"},
}


class Engine(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        page = VLLM.encode() if self.path == "/metrics" else json.dumps(ANSWERS.get(self.path, [])).encode()
        self.send_response(200 if self.path in ANSWERS or self.path == "/metrics" else 404)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def engine() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server, in_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("openai", {"served_model": "m", "max_model_len": 8192}),
        ("vllm", {"version": "0.33.0", "served_model": "m", "max_model_len": 8192}),
        ("sglang", {"version": "0.5.1", "quantization": "fp8", "dtype": "auto", "served_model": "m"}),
        ("tgi", {"version": "3.3.0", "max_model_len": 4096, "dtype": "float16"}),
        ("ollama", {"version": "0.12.3", "quantization": "Q8_0", "max_model_len": 4096}),
        ("llamacpp", {"version": "b6000", "served_model": "/m.gguf", "max_model_len": 2048}),
    ],
)
def test_an_engine_is_asked_the_way_it_answers(name: str, want: dict[str, object]) -> None:
    with engine() as url:
        told = identity_of(name, Pages(RunTarget(engine=name, model="m", url=url), "t0k"))  # type: ignore[arg-type]
    assert want.items() <= told.model_dump().items()
    assert Engine.asked[-1][1] == "Bearer t0k"


def test_every_engine_with_counters_has_an_identity() -> None:
    assert set(FACTS) < set(IDENTITY)


def test_an_engine_that_answers_nonsense_or_nothing_is_just_unknown() -> None:
    with engine() as url:
        odd = ServerMetrics("vllm", Pages(RunTarget(engine="vllm", model="m", url=url + "/nowhere"), None))
        assert odd.counters() is not None  # the page is asked for at the root, whatever the path of the target
    gone = Pages(RunTarget(engine="vllm", model="m", url="http://127.0.0.1:1"), None)
    assert ServerMetrics("vllm", gone).counters() is None
    assert identity_of("vllm", gone).version is None


def test_a_ratio_of_several_ranks_is_their_mean() -> None:
    page = parse_metrics('vllm:kv_cache_usage_perc{engine="0"} 0.8\nvllm:kv_cache_usage_perc{engine="1"} 0.6\n')
    assert page["vllm:kv_cache_usage_perc"] == pytest.approx(0.7)
