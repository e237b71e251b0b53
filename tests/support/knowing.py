"""An engine that knows the answers: of the built-in tests all but every tenth, of the refactorings `counter` as asked and the rest as they were given; anything
else gets as many words as it may have, one every few milliseconds.

As a stand-in for llama-server: `python -m tests.support.knowing --port N …`; other flags are ignored, as the model's file is.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench_runner.quality.code_checks import component_of, fixtures
from tokenmark_decisions.quality import quality_of
from tokenmark_schemas.documents import read_tests
from tokenmark_schemas.quality import AskedTest, QualityTest, StageQuality

TESTS = read_tests("general", 1).tests
WRONG = {test.test for test in TESTS[::10]}  # of 100 tests ten, whose answers are none
BROKEN = {test.test for test in TESTS[5::40]}  # three, at which the server fails where it is told to
SHY = "I <b>cannot</b> say."
# right answers to tests that ask for a pattern
EXAMPLES = {
    "reading-library-open": "11", "reading-meeting-date": "11th", "logic-labels": "B", "reading-server-log": "02:04", "reading-server-paged": "0", "logic-sequence-4": "U", "format-upper": "PINEAPPLE", "format-reverse": "enots",
    "format-csv": "red,green,blue", "format-three-lines": "one\ntwo\nthree", "format-date": "2024-03-05", "format-time": "17:45",
    "format-hex": "0xff", "format-only-ok": "OK", "format-sorted": "apple, fig, lemon, pear", "format-bullets": "- tea\n- milk",
    "format-bracket": "[done]", "format-yes-lower": "yes", "format-count-words": "echo echo echo echo", "format-xml": "<id>7</id>",
    "format-key-value": "port: 8080",
}  # fmt: skip


def said(test: QualityTest) -> str:
    """The right answer, as a model would write it."""
    found = test.expect
    if found.json_value is not None:
        return f"```json\n{json.dumps(found.json_value, indent=1)}\n```"
    if found.pattern is not None:
        return EXAMPLES[test.test]
    return found.number or found.choice or (found.words or [""])[0]


def answered(rights: list[bool]) -> StageQuality:
    """What a model made of so many tests of one kind."""
    outcomes = [
        AskedTest(test=f"t{k}", kind="k", asked=1, right=int(good), answer="x") for k, good in enumerate(rights)
    ]
    return quality_of(outcomes, 0, 500)


class Knowing(BaseHTTPRequestHandler):
    """Chat completions, streamed."""

    protocol_version = "HTTP/1.1"
    tests = {test.prompt: test for test in TESTS}
    fixtures = {each.prompt: each for each in fixtures()}
    fails = False

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

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
            time.sleep(0.004)
        usage = {"prompt_tokens": 9, "completion_tokens": len(pieces), "total_tokens": 9 + len(pieces)}
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def pieces(self, body: dict[str, Any]) -> list[str] | None:
        """The answer, token by token; None is a fault of the server."""
        prompt = body["messages"][-1]["content"]
        if (test := self.tests.get(prompt)) is not None:
            if self.fails and test.test in BROKEN:
                return None
            text = SHY if test.test in WRONG else said(test)
            return [text[:1], text[1:]]
        if (
            fixture := next((each for known, each in self.fixtures.items() if prompt.endswith(known)), None)
        ) is not None:
            component = fixture.expected if fixture.name == "counter" else component_of(fixture.prompt)
            return [f"Here it is.\n```vue\n{component}\n```"]
        return [" word"] * int(body["max_tokens"])

    def _event(self, event: dict[str, Any]) -> None:
        self._chunk(b"data: %b\n\n" % json.dumps({"id": "a", "model": "known", **event}).encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """A test's output is the test's."""


def server(port: int = 0) -> ThreadingHTTPServer:
    found = ThreadingHTTPServer(("127.0.0.1", port), Knowing)
    found.daemon_threads = True
    return found


if __name__ == "__main__":
    server(int(sys.argv[sys.argv.index("--port") + 1])).serve_forever()
