"""Where a response ends, however its bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_runner.load.framing import BROKEN, DONE, Framing, body_of, ends_chunked
from tests.support.builders import STREAM_HEAD, chunked

BODY = STREAM_HEAD + chunked(b'data: {"a":1}\n\n', b"data: [DONE]\n\n")


def finished(reads: list[bytes]) -> bool:
    """The worker's rule over these reads."""
    framing, seen = Framing(), b""
    for read in reads:
        seen += read
        if framing.mode != 0 and framing.head is not None and framing.mode == 1:
            if ends_chunked(seen[-64:]):
                return True
        elif framing.feed(read) == DONE:
            return True
    return False


@given(st.lists(st.integers(0, len(BODY)), max_size=12))
def test_a_chunked_answer_ends_at_its_last_byte_and_not_before(cuts: list[int]) -> None:
    edges = sorted({0, len(BODY), *cuts})
    reads = [BODY[a:b] for a, b in pairwise(edges)]
    assert finished(reads)
    assert not finished([*reads[:-1], reads[-1][:-1]])


def test_a_length_is_counted() -> None:
    framing = Framing()
    assert framing.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab") != DONE
    assert framing.feed(b"cde") == DONE
    assert framing.extra == 0


def test_bytes_after_the_end_are_counted() -> None:
    framing = Framing()
    assert framing.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabXYZ") == DONE
    assert framing.extra == 3


def test_an_interim_response_is_skipped() -> None:
    framing = Framing()
    assert framing.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == DONE


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"\x16\x03\x01\x00\xa5"])
def test_what_is_not_http_is_said_to_be_so(garbage: bytes) -> None:
    assert Framing().feed(garbage) == BROKEN


def test_trailers_end_a_body() -> None:
    assert ends_chunked(b"data\n\n\r\n0\r\nX-Checksum: 1\r\n\r\n")
    assert not ends_chunked(b"data: x\r\n\r\n\r\n")


def test_a_whole_answer_is_checked_chunk_by_chunk() -> None:
    assert body_of(BODY).complete
    assert body_of(BODY).payload == b'data: {"a":1}\n\ndata: [DONE]\n\n'
    assert not body_of(BODY.replace(b"\r\n0\r\n\r\n", b"\r\n")).complete
