"""Results inside a container's log: self-identifying lines, so that nothing else in the log can be taken for data.

Every line carries a prefix, the block's name, a sequence number and at most 4 KiB; the first line of a block carries
the length and digest of the whole. stderr noise, reordered streams and the kubelet's own error texts are ignored: a
block counts only when every line is there and the digest agrees.

    tokenmark-frame/v1 result 0/57 {"sha256": "…", "bytes": 219312}
    tokenmark-frame/v1 result 1/57 H4sIAAAAAAAC…
    tokenmark-frame/v1 progress {"stage": "c32", "repetition": 2, …}        (a line of its own, no block)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PREFIX = "tokenmark-frame/v1"
LINE_BYTES = 3900
MAX_BLOCK_BYTES = 2_000_000
MAX_BLOCKS = 128


def frame(name: str, payload: bytes) -> Iterator[str]:
    """Payload -> the lines of its block, without line ends."""
    text = base64.b64encode(payload).decode()
    parts = [text[i : i + LINE_BYTES] for i in range(0, len(text), LINE_BYTES)]
    head = json.dumps({"sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)})
    yield f"{PREFIX} {name} 0/{len(parts)} {head}"
    for number, part in enumerate(parts, start=1):
        yield f"{PREFIX} {name} {number}/{len(parts)} {part}"


def progress_line(facts: dict[str, Any]) -> str:
    """One line that tells how far a run is."""
    return f"{PREFIX} progress {json.dumps(facts)}"


@dataclass
class _Block:
    total: int
    sha256: str | None = None
    size_bytes: int = 0
    parts: dict[int, str] = field(default_factory=dict)


@dataclass
class FrameReader:
    """Feed it log lines in any order; `blocks` holds what was verified. Bounded in memory whatever the log holds."""

    blocks: dict[str, bytes] = field(default_factory=dict)
    progress: dict[str, Any] | None = None
    _open: dict[str, _Block] = field(default_factory=dict)

    def feed(self, line: str) -> None:
        """Takes one line of a log; anything that is not a well-formed frame is ignored."""
        at = line.find(PREFIX + " ")
        if at < 0:
            return
        words = line[at:].rstrip("\r\n").split(" ", 3)
        if len(words) >= 3 and words[1] == "progress":
            self._progress(line[at:].rstrip("\r\n").split(" ", 2)[2])
        elif len(words) == 4:
            self._part(words[1], words[2], words[3])

    def _progress(self, text: str) -> None:
        try:
            facts = json.loads(text)
        except ValueError:
            return
        if isinstance(facts, dict):
            self.progress = facts

    def _part(self, name: str, position: str, text: str) -> None:
        number, slash, total = position.partition("/")
        if not (slash and number.isdigit() and total.isdigit()) or len(text) > LINE_BYTES:
            return
        if name in self.blocks or int(total) * LINE_BYTES > 2 * MAX_BLOCK_BYTES or int(number) > int(total):
            return
        if name not in self._open and len(self._open) + len(self.blocks) >= MAX_BLOCKS:
            return
        block = self._open.setdefault(name, _Block(int(total)))
        if int(number) == 0:
            self._head(block, text)
        else:
            block.parts[int(number)] = text
        if block.sha256 is not None and len(block.parts) == block.total:
            self._close(name, block)

    @staticmethod
    def _head(block: _Block, text: str) -> None:
        try:
            head = json.loads(text)
            block.sha256, block.size_bytes = str(head["sha256"]), int(head["bytes"])
        except (ValueError, KeyError, TypeError):
            block.sha256 = None

    def _close(self, name: str, block: _Block) -> None:
        del self._open[name]
        try:
            payload = base64.b64decode("".join(block.parts[i] for i in range(1, block.total + 1)), validate=True)
        except (binascii.Error, KeyError):
            return
        if len(payload) == block.size_bytes and hashlib.sha256(payload).hexdigest() == block.sha256:
            self.blocks[name] = payload
