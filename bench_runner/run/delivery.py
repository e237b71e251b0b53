"""A run's files -> its object stores: which files there are, under which keys, and one receipt a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenmark_schemas.base import Contract
from tokenmark_schemas.probe_result import EastWest
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run import RunConfig
from tokenmark_schemas.store import Receipts, StoreSink

from ..formats.north_south import north_south
from ..storage.object_keys import facts_of, folder_of, record_key
from ..storage.object_store import Piece, upload


@dataclass(frozen=True)
class RunFiles:
    """What there is of one run. `requests` and `log` are bytes, or the path of a file that may not exist."""

    result: RunResult
    config: RunConfig | None = None
    requests: bytes | Path | None = None
    log: bytes | Path | None = None

    def pieces(self, sink: StoreSink) -> list[Piece]:
        """The smallest and most wanted first: what keeps the last one out leaves the others there."""
        facts = facts_of(self.result, self.config)
        folder = folder_of(sink.key_template, facts)
        found = [Piece("result", f"{folder}/result.json", _json(self.result))]
        if self.result.stages and self.result.imported is None:
            key = record_key("ns", self.result.provenance.environment.get("provider"), self.result.run.started_at)
            found.append(Piece("record", key, _json(north_south(self.result, self.config))))
        if self.config is not None:
            found.append(Piece("config", f"{folder}/config.json", _json(self.config)))
        if self.result.stages and not self.result.run.interrupted:  # who was told to end has no time for it
            found.append(Piece("report", f"{folder}/report.html", self._report().encode()))
        for name, file, content in (("log", "runner.log", self.log), ("requests", "requests.jsonl.gz", self.requests)):
            if content is not None and (isinstance(content, bytes) or content.is_file()):
                found.append(Piece(name, f"{folder}/{file}", content))
        return found

    def _report(self) -> str:
        """The page that `tokenmark report` writes of the run's folder."""
        from ..reports.page.files import Run, report_page

        log = self.requests if isinstance(self.requests, Path) and self.requests.is_file() else None
        return report_page([Run(self.result.run.name, self.result, log)])


@dataclass(frozen=True)
class ProbeFiles:
    """A probe is one document."""

    document: EastWest

    def pieces(self, _sink: StoreSink) -> list[Piece]:
        key = record_key("ew", self.document.environment.get("provider"), self.document.created_at)
        return [Piece("record", key, _json(self.document))]


def deliver(
    files: RunFiles | ProbeFiles, sinks: Sequence[StoreSink], hurry: Callable[[], bool] = lambda: False,
    about_to: Callable[[StoreSink], None] = lambda _: None,
) -> Receipts:  # fmt: skip
    """Into every store, one after the other; a store that fails keeps no other from being tried."""
    receipts = []
    for sink in sinks:
        about_to(sink)
        receipts.append(upload(sink, files.pieces(sink), hurry))
    return Receipts(stores=receipts)


def _json(document: Contract) -> bytes:
    return json.dumps(document.snake(), indent=2).encode() + b"\n"
