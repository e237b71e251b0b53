"""A run that asks tests, against an engine whose knowledge is known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.accuracy.test_truth import CLI, healthy
from tests.support.serving import in_thread
from tests.unit.test_quality import said
from tokenmark_schemas.documents import read_tests

TESTS = read_tests("general", 1).tests
WRONG = {test.test for test in TESTS[::10]}  # of 100 tests ten, whose answers are none
BROKEN = {test.test for test in TESTS[5::40]}  # three, at which the server fails


class Engine(BaseHTTPRequestHandler):
    """Chat completions, streamed: what `said` says, but for some tests."""

    protocol_version = "HTTP/1.1"
    answers = {test.prompt: test for test in TESTS}
    fails = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["temperature"] == 0
        pieces = self.pieces(body)
        if pieces is None:
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self._event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
            self.between()
        usage = {"prompt_tokens": 9, "completion_tokens": len(pieces), "total_tokens": 9 + len(pieces)}
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def pieces(self, body: dict[str, Any]) -> list[str] | None:
        """The answer, token by token; None is a fault of the server."""
        text = self.said_to(body["messages"][-1]["content"])
        return None if text is None else [text[:1], text[1:]]

    def between(self) -> None:
        """Two tokens."""

    def said_to(self, prompt: str) -> str | None:
        """None is a fault of the server."""
        test = self.answers[prompt]
        if self.fails and test.test in BROKEN:
            return None
        return "I <b>cannot</b> say." if test.test in WRONG else said(test)

    def _event(self, event: dict[str, Any]) -> None:
        self._chunk(b"data: %b\n\n" % json.dumps({"id": "a", "model": "known", **event}).encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """A test's output is the test's."""


@pytest.fixture
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.daemon_threads = True
    with server, in_thread(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_accuracy_is_what_the_engine_knows_and_stands_in_every_report(engine: str, tmp_path: Path) -> None:
    result = healthy(engine, tmp_path, "--workload", "quality")
    (stage,) = result["stages"]
    found = stage["quality"]
    assert (found["asked"], found["right"], found["unanswered"]) == (100, 90, 0)
    assert found["ci95"] == pytest.approx([0.826, 0.945], abs=0.001)
    assert {each["test"] for each in found["outcomes"] if each["right"] < each["asked"]} == WRONG
    assert {each["kind"]: each["asked"] for each in found["kinds"]} == {
        "format": 20,
        "logic": 24,
        "maths": 32,
        "reading": 24,
    }
    run = next(tmp_path.glob("*/t"))
    shown = subprocess.run([*CLI, "show", str(run)], capture_output=True, text=True, check=True).stdout
    assert "90 of 100 right (83 to 94 %)" in " ".join(shown.split())
    subprocess.run([*CLI, "report", str(run), "--out", str(tmp_path / "report")], capture_output=True, check=True)
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("I &lt;b&gt;cannot&lt;/b&gt; say.") == 10
    assert "<b>cannot" not in page


def test_too_few_right_answers_miss_an_objective_and_a_servers_faults_are_no_answers(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "fails", True)
    words = [
        sys.executable, "-m", "bench_runner", "run", "--target", engine, "--model", "known", "--workload", "quality", "--quiet", "--out",
        str(tmp_path), "--name", "t", "--format", "json", "--objective", "accuracy:mean>=95%",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    found = result["stages"][0]["quality"]
    assert (found["asked"], found["right"], found["unanswered"]) == (97, 87, 3)
    (objective,) = result["objectives"]
    assert (objective["met"], objective["limit"], done.returncode) == ("false", 0.95, 3), done.stderr
    assert objective["value"] == pytest.approx(87 / 97)


def test_own_tests_from_a_file_are_judged(engine: str, tmp_path: Path) -> None:
    lines = [
        {"prompt": test.prompt, "kind": "own", "expect": test.expect.model_dump(exclude_none=True, by_alias=True)}
        for test in TESTS
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = healthy(
        engine, tmp_path, "--prompts", str(tmp_path / "own.jsonl"), "--concurrency", "1", "--requests", "100"
    )
    found = result["stages"][0]["quality"]
    assert (found["asked"], found["right"]) == (100, 90)
    assert {each["test"] for each in found["outcomes"]} == {f"line-{number}" for number in range(1, 101)}
