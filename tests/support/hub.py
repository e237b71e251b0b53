"""A server that speaks as the Hugging Face Hub does, and that breaks off, dies, lies and refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.serving import in_thread

REPO, FILE = "somebody/gemma-GGUF", "quants/gemma-Q8_0.gguf"


@dataclass
class Weather:
    """How the server behaves: bytes after which it breaks off an answer, and for how many of them; what it asks for."""

    content: bytes = b""
    breaks_after: int | None = None
    breaks: int = 0
    refuses: bool = False
    token: str | None = None
    ranges: list[str | None] = field(default_factory=list)


@contextmanager
def hub(weather: Weather, files: Mapping[str, bytes] | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """Serves `files` of REPO by their paths, FILE with the weather's content if unsaid: its address."""
    held = {FILE: weather.content} if files is None else files
    found = {f"/{REPO}/resolve/main/{path}": content for path, content in held.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _head(self, status: int, length: int, **more: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            for name, value in more.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def do_HEAD(self) -> None:
            if (content := found.get(self.path)) is None:
                self._head(404, 0, X_Error_Code="EntryNotFound" if REPO in self.path else "RepoNotFound")
            elif weather.token and self.headers["Authorization"] != f"Bearer {weather.token}":
                self._head(403, 0, X_Error_Code="GatedRepo")
            else:
                digest = hashlib.sha256(content).hexdigest()
                self._head(
                    200,
                    len(content),
                    X_Repo_Commit="c" * 40,
                    ETag='"x"',
                    X_Linked_Etag=f'"{digest}"',
                    X_Linked_Size=str(len(content)),
                )

        def do_GET(self) -> None:
            said = self.headers["Range"]
            weather.ranges.append(said)
            begin = int(said.removeprefix("bytes=").rstrip("-")) if said else 0
            content = found[self.path]
            body = content[begin:]
            if weather.refuses:
                self._head(503, 0)
                return
            total = len(content)
            self._head(206 if said else 200, len(body), Content_Range=f"bytes {begin}-{total - 1}/{total}")
            if weather.breaks_after is not None and weather.breaks > 0:
                weather.breaks -= 1
                body, self.close_connection = body[: weather.breaks_after], True
            self.wfile.write(body)

    with ThreadingHTTPServer((host, 0), Handler) as server, in_thread(server):
        yield f"http://{host}:{server.server_address[1]}"
