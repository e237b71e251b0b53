"""`requests.jsonl.gz`: one line a request, written as they finish and on disk with every repetition and every five seconds,
so that whatever ends the process, what was measured is there. A file that was cut off anywhere is read up to its last
whole line. A full disk stops the writing, is reported, and never stops the run.
"""

from __future__ import annotations

import gzip
import io
import time
import zlib
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tokenmark_schemas.errors import InvalidInput

from ..samples.sample import Failure, Sample


def request_row(sample: Sample, *, chunks: bool) -> dict[str, Any]:
    """One line of `requests.jsonl.gz`."""
    content = sample.content_ns
    return {
        "id": sample.id,
        "stage": sample.stage,
        "repetition": sample.repetition,
        "seq": sample.seq,
        "due_ns": sample.due_ns,
        "taken_ns": sample.ready_ns,
        "connect_ns": sample.connect_ns,
        "sent_ns": sample.sent_ns,
        "first_byte_ns": sample.first_byte_ns,
        "content_ns": list(content) if chunks or len(content) < 3 else [content[0], content[-1]],
        "chunks": len(content),
        "end_ns": sample.end_ns,
        "max_output_tokens": sample.output_limit,
        "output_tokens": sample.output_tokens,
        "prompt_tokens": sample.prompt_tokens,
        "token_source": sample.token_source,
        "engine_timings": sample.engine_timings,
        "status": sample.status,
        **({"stalled_ns": sample.stalled_ns} if sample.stalled_ns else {}),
        **({"steps_s": sample.steps_s} if sample.steps_s else {}),
        **({"retrieved": sample.retrieved} if sample.retrieved is not None else {}),
        **({"conversation": sample.conversation, "turn": sample.turn} if sample.turn is not None else {}),
        **({"operation": sample.operation} if sample.operation is not None else {}),
        **({"recall": sample.recall} if sample.recall is not None else {}),
        **({"test": sample.judged.test, "right": sample.judged.right} if sample.judged is not None else {}),
        "error": {"class": sample.failure.kind, "message": sample.failure.message} if sample.failure else None,
    }


def sample_of(row: Mapping[str, Any]) -> Sample:
    """What a line of the log still holds of its request: of the stamps between the first and the last only what detail
    `Chunks` kept. Raises KeyError or TypeError where it is no such line."""
    error = row["error"]
    return Sample(
        id=row["id"], stage=row["stage"], repetition=row["repetition"], seq=row["seq"], due_ns=row["due_ns"],
        ready_ns=row["taken_ns"], sent_ns=row["sent_ns"], first_byte_ns=row["first_byte_ns"],
        content_ns=array("q", row["content_ns"]), end_ns=row["end_ns"], output_limit=row["max_output_tokens"],
        output_tokens=row["output_tokens"], prompt_tokens=row["prompt_tokens"], token_source=row["token_source"],
        status=row["status"], failure=Failure(error["class"], error["message"]) if error else None,
        connect_ns=row["connect_ns"], stalled_ns=row.get("stalled_ns", 0),
        conversation=row.get("conversation"), turn=row.get("turn"), steps_s=row.get("steps_s"), retrieved=row.get("retrieved"),
        operation=row.get("operation"), recall=row.get("recall"),
    )  # fmt: skip


FLUSH_S = 5.0
PIECE_BYTES = 2**20


class RequestLog:
    """Appends rows to a gzip file."""

    def __init__(self, path: Path, detail: str) -> None:
        self.problem: str | None = None
        self._path, self._wanted = path, detail != "Summary"
        self._chunks = detail in ("Chunks", "Text")
        self._file: gzip.GzipFile | None = None
        self._raw: BinaryIO | None = None
        self._flushed = time.monotonic()
        if detail != "Summary":
            self._raw = path.open("wb")
            self._file = gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=3, mtime=0)

    def add(self, sample: Sample) -> None:
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(request_row(sample, chunks=self._chunks)) + b"\n")
        except OSError as exc:
            self._give_up(exc)
        if time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """What was added is in the file, readable, if the process ends now."""
        self._flushed = time.monotonic()
        if self._file is None or self._raw is None:
            return
        try:
            self._file.flush()
            self._raw.flush()
        except OSError as exc:
            self._give_up(exc)

    def close(self) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
            if self._raw is not None:
                self._raw.close()
        except OSError as exc:
            self._give_up(exc)
        self._file = None

    def append(self, log: bytes, missing: str) -> None:
        """Puts another pod's log behind this closed one: a gzip file may have several members."""
        if missing and self._wanted:
            self.problem = f"the request log lacks that of {missing}; the summary is complete"
        if self.problem is not None or not log:
            return
        try:
            with self._path.open("ab") as file:
                file.write(log)
        except OSError as exc:
            self._give_up(exc)

    def _give_up(self, exc: OSError) -> None:
        self.problem = f"the request log could not be written ({exc.strerror}); the summary is complete"
        self._file = None


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a request log, several gzip members included; of a file that is cut off, all whole lines.

    Raises OSError where it cannot be read, ValueError where it is no request log.
    """
    yield from _rows(path.open("rb"))


def _rows(file: BinaryIO) -> Iterator[dict[str, Any]]:
    rest = b""
    for piece in _unpacked(file):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            row = msgspec.json.decode(line)
            if not isinstance(row, dict):
                raise ValueError("a line is no object")
            yield row


def read_log(log: bytes | Path, source: str) -> Iterator[dict[str, Any]]:
    """The same of a log in memory too. Raises InvalidInput where there is none."""
    try:
        yield from _rows(io.BytesIO(log) if isinstance(log, bytes) else log.open("rb"))
    except FileNotFoundError:
        raise InvalidInput(f"{source} holds no requests.jsonl.gz; was it run with --detail summary?") from None
    except (OSError, ValueError) as exc:
        raise InvalidInput(f"the request log of {source} cannot be read: {exc}") from exc


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """What can be unpacked, member after member."""
    with file:
        unpacker, fresh = zlib.decompressobj(wbits=31), True
        while piece := file.read(PIECE_BYTES):
            while piece:
                try:
                    data = unpacker.decompress(piece)
                except zlib.error as exc:
                    raise ValueError(f"it is not gzip: {exc}") from exc
                fresh = False
                if data:
                    yield data
                piece = unpacker.unused_data
                if unpacker.eof:
                    unpacker, fresh = zlib.decompressobj(wbits=31), True
        if not fresh:
            yield unpacker.flush()
