"""A stand-in for llama-server that knows the answers: `python -m tests.support.knowing --port N …`. Other flags are ignored, as the model's file is.

Of the built-in tests it answers all but every tenth, of the refactorings `counter` as asked and the rest as they were given; anything else gets as many words as it
may have, one every few milliseconds.
"""

from __future__ import annotations

import sys
import time
from http.server import ThreadingHTTPServer

from bench_runner.quality.code_checks import component_of, fixtures
from tests.integration.test_quality import TESTS, WRONG, Engine
from tests.unit.test_quality import said


class Knowing(Engine):
    known = {each.prompt: each for each in fixtures()}
    tests = {test.prompt: test for test in TESTS}

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def pieces(self, body: dict[str, object]) -> list[str]:
        prompt = body["messages"][-1]["content"]  # type: ignore[index]
        if (test := self.tests.get(prompt)) is not None:
            return ["I cannot say." if test.test in WRONG else said(test)]
        if (fixture := self.known.get(prompt)) is not None:
            return [f"```vue\n{fixture.expected if fixture.name == 'counter' else component_of(prompt)}\n```"]
        return [" word"] * int(str(body["max_tokens"]))

    def between(self) -> None:
        time.sleep(0.004)


def main(words: list[str]) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Knowing)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
