"""What was measured is on disk while the run goes on, and a log that was cut off anywhere can be read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bench_runner.storage import request_log
from bench_runner.storage.request_log import RequestLog, read_rows
from tests.support.builders import a_sample


def rows(path: Path) -> list[int]:
    return [row["seq"] for row in read_rows(path)]


def test_a_flush_makes_what_was_added_readable_while_the_file_is_open(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "r.gz", "Requests")
    for seq in range(50):
        log.add(a_sample(seq=seq))
    log.flush()
    assert rows(tmp_path / "r.gz") == list(range(50))
    log.close()
    assert rows(tmp_path / "r.gz") == list(range(50))


def test_it_flushes_by_itself_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(request_log.time, "monotonic", lambda: now[0])
    log = RequestLog(tmp_path / "r.gz", "Requests")
    for seq in range(20):
        now[0] += 1.0
        log.add(a_sample(seq=seq))
    assert len(rows(tmp_path / "r.gz")) >= 15
    log.close()


def test_a_file_cut_off_at_any_byte_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "r.gz", "Requests")
    for seq in range(40):
        log.add(a_sample(seq=seq))
        if seq % 10 == 9:
            log.flush()
    log.close()
    log.append(gzip.compress(b'{"seq":40}\n'), "")
    whole, cut, known = (tmp_path / "r.gz").read_bytes(), tmp_path / "cut.gz", 0
    for size in range(len(whole) + 1):
        cut.write_bytes(whole[:size])
        found = rows(cut)
        assert found == list(range(len(found)))
        assert len(found) >= known
        known = len(found)
    assert known == 41


@pytest.mark.parametrize(
    "content",
    [b"no gzip at all", gzip.compress(b"no json\n"), gzip.compress(b"[1]\n")],
    ids=["no gzip", "no json", "no object"],
)
def test_what_is_no_log_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.gz").write_bytes(content)
    with pytest.raises(ValueError):
        rows(tmp_path / "r.gz")
