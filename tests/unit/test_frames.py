"""Results in a log: only whole and true blocks come out."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tokenmark_schemas.frames import LINE_BYTES, FrameReader, frame, progress_line


def read(lines: list[str]) -> FrameReader:
    reader = FrameReader()
    for line in lines:
        reader.feed(line)
    return reader


@given(st.binary(max_size=20_000), st.integers(0, 2**31))
def test_any_payload_comes_back_whatever_the_order_and_the_noise(payload: bytes, seed: int) -> None:
    lines = list(frame("result", payload))
    noise = [
        "Traceback (most recent call last):",
        "unable to retrieve container logs for containerd://x",
        "",
        "tokenmark-frame/v1",
    ]
    mixed = lines + noise
    random.Random(seed).shuffle(mixed)
    assert read(mixed).blocks == {"result": payload}


def test_a_missing_line_gives_nothing() -> None:
    lines = list(frame("result", random.Random(1).randbytes(10_000)))
    for gone in range(len(lines)):
        assert read(lines[:gone] + lines[gone + 1 :]).blocks == {}


def test_a_changed_byte_gives_nothing() -> None:
    lines = list(frame("result", b"the truth, the whole truth"))
    assert read([lines[0], lines[1].replace("dGhl", "bGll", 1)]).blocks == {}


def test_lines_stay_below_four_kibibytes() -> None:
    assert all(len(line) < 4096 for line in frame("requests", bytes(100_000)))


def test_progress_is_the_newest() -> None:
    reader = read([progress_line({"stage": "a"}), progress_line({"stage": "b"}), "tokenmark-frame/v1 progress {broken"])
    assert reader.progress == {"stage": "b"}


def test_an_endless_log_does_not_grow_the_reader() -> None:
    reader = FrameReader()
    for i in range(10_000):
        reader.feed(f"tokenmark-frame/v1 flood-{i} 1/9 {'x' * LINE_BYTES}")
    assert len(reader._open) <= 128
