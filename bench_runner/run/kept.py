"""What an earlier run left, wherever it lies: its folder, its pod's kept log, its ConfigMap, a probe's result."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.documents import MAX_DOCUMENT_BYTES, load_documents, read_text
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.frames import PREFIX, FrameReader
from tokenmark_schemas.probe_result import EastWest
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run import RunConfig

from .delivery import ProbeFiles, RunFiles

Document = RunResult | EastWest


def read_kept(source: str) -> RunFiles | ProbeFiles:
    """Raises InvalidInput where it is none of these."""
    if source != "-" and Path(source).is_dir():
        return _folder(Path(source))
    if source.endswith(".gz"):
        return of_packed(_bytes(Path(source)), source)
    text = _stdin() if source == "-" else read_text(source)
    named = "stdin" if source == "-" else source
    if PREFIX in text:
        return _log(text.splitlines(), named)
    return of_document(text, named)


def _stdin() -> str:
    text = sys.stdin.read(MAX_DOCUMENT_BYTES + 1)
    if len(text) > MAX_DOCUMENT_BYTES:
        raise InvalidInput(f"stdin is larger than {MAX_DOCUMENT_BYTES // 2**20} MiB; that is no log of a run")
    return text


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror}") from exc


def _folder(folder: Path) -> RunFiles:
    if not (folder / "result.json").is_file():
        raise InvalidInput(f"{folder} holds no result.json; name the folder of one run, such as results/NAME")
    result = _parsed(read_text(folder / "result.json"), str(folder / "result.json"))
    if not isinstance(result, RunResult):
        raise InvalidInput(f"{folder}/result.json is no result of a run")
    config = folder / "config.json"
    said = RunConfig.model_validate_json(read_text(config), extra="ignore") if config.is_file() else None
    return RunFiles(result, said, folder / "requests.jsonl.gz", folder / "runner.log")


def _log(lines: Iterable[str], source: str) -> RunFiles:
    reader, spoken = FrameReader(), []
    for line in lines:
        reader.feed(line)
        if PREFIX not in line:
            spoken.append(line)
    partials = sorted((n for n in reader.blocks if n.startswith("partial-")), key=lambda n: int(n[8:] or -1))
    name = "result" if "result" in reader.blocks else partials[-1] if partials else None
    if name is None:
        raise InvalidInput(f"{source} is a runner's log, but holds no whole result; was it cut off?")
    result = _parsed(_unpacked(reader.blocks[name], source), source)
    if not isinstance(result, RunResult):
        raise InvalidInput(f"{source} is the log of a probe's agent; give the probe's result ConfigMap instead")
    config = reader.blocks.get("config")
    said = RunConfig.model_validate_json(_unpacked(config, source), extra="ignore") if config else None
    log = ("\n".join(spoken) + "\n").encode() if spoken else None
    return RunFiles(result, said, reader.blocks.get("requests"), log)


def of_packed(payload: bytes, source: str) -> RunFiles | ProbeFiles:
    """A result as gzip. Raises InvalidInput where it is none."""
    return _files(_parsed(_unpacked(payload, source), source), None)


def of_document(text: str, source: str) -> RunFiles | ProbeFiles:
    """A ConfigMap as kubectl prints it, or the JSON of a result itself."""
    value = load_documents(text, source)[0][0]
    if isinstance(value, dict) and value.get("kind") == "ConfigMap":
        binary: dict[str, Any] = value.get("binaryData") or {}
        if "result.json.gz" not in binary:
            raise InvalidInput(f"{source} is a ConfigMap without result.json.gz; give the one that ends in -result")
        found = _parsed(_unpacked(_decoded(binary["result.json.gz"], source), source), source)
        requests = binary.get("requests.jsonl.gz")
        return _files(found, _decoded(requests, source) if requests else None)
    return _files(_parsed(text, source), None)


def _files(found: Document, requests: bytes | None) -> RunFiles | ProbeFiles:
    return RunFiles(found, requests=requests) if isinstance(found, RunResult) else ProbeFiles(found)


def _decoded(text: str, source: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise InvalidInput(f"{source}: its binaryData is no base64") from None


def _unpacked(payload: bytes, source: str) -> str:
    try:
        return zlib.decompressobj(wbits=31).decompress(payload, MAX_DOCUMENT_BYTES).decode()
    except (zlib.error, UnicodeDecodeError):
        raise InvalidInput(f"{source}: its result cannot be unpacked") from None


def _parsed(text: str, source: str) -> Document:
    try:
        if json.loads(text).get("schema_version") == "netprobe-ew/v1":
            return EastWest.model_validate_json(text, extra="ignore")
        return RunResult.model_validate_json(text, extra="ignore")
    except (ValueError, AttributeError, ValidationError):
        raise InvalidInput(
            f"{source} is neither a result of a run (run-result/v1) nor of a probe (netprobe-ew/v1)"
        ) from None
