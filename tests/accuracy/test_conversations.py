"""Conversations of several turns: what is said, when the next turn is due, and what ends them."""

from __future__ import annotations

import itertools
import json
import socketserver
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.accuracy.test_route import chunk, read_request
from tests.accuracy.test_truth import rows, run
from tests.support.serving import in_thread

MS = 1_000_000
TALK = ("--input-tokens", "24", "--max-output-tokens", "4", "--warmup-requests", "0")


class Listener:
    """A chat server: answers with a word of its own each time, and remembers what it was asked."""

    def __init__(self, fail_turn: int | None = None, tokens: int = 3) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fail_turn, self.tokens = fail_turn, tokens
        self.lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> bytes:
        with self.lock:
            number = len(self.asked)
            self.asked.append(body)
        turn = sum(message["role"] == "user" for message in body["messages"]) - 1
        if turn == self.fail_turn:
            return b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"
        words = [f"answer-{number}", *[f" word{i}" for i in range(self.tokens - 1)]]
        events = [{"model": "m", "choices": [{"delta": {"content": word}}]} for word in words]
        usage = {"prompt_tokens": 10 * (turn + 1), "completion_tokens": self.tokens,
                 "prompt_tokens_details": {"cached_tokens": 10 * turn}}  # fmt: skip
        events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
        data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        return head + chunk(data) + b"0\r\n\r\n"


@contextmanager
def serving(listener: Listener) -> Iterator[str]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while request := read_request(self.rfile):
                if request.startswith(b"GET "):
                    self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                body = json.loads(request.partition(b"\r\n\r\n")[2])
                time.sleep(0.01)
                self.wfile.write(listener.answer(body))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server, in_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


def by_conversation(out: Path) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows(out), key=lambda row: row["due_ns"]):
        found[row["conversation"]].append(row)
    return found


def test_a_turn_says_all_that_was_said_before_with_the_engines_own_answers(tmp_path: Path) -> None:
    listener = Listener()
    with serving(listener) as url:
        result = run(url, tmp_path, "--concurrency", "3", "--requests", "36", "--turns", "3", *TALK)
    opened: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for body in listener.asked:
        opened[body["messages"][0]["content"]].append(body)
    whole = [bodies for bodies in opened.values() if len(bodies) == 3]
    assert len(opened) == 12 == len(whole), "every conversation opens with words of its own"
    for first, second, third in whole:
        assert [m["role"] for m in third["messages"]] == ["user", "assistant", "user", "assistant", "user"]
        number = listener.asked.index(first)
        assert second["messages"][1]["content"] == f"answer-{number} word0 word1"
        assert third["messages"][:3] == second["messages"]
    turns = result["stages"][0]["turns"]
    assert [(turn["turn"], turn["count"]) for turn in turns] == [(1, 12), (2, 12), (3, 12)]
    assert [turn["prompt_tokens"] for turn in turns] == [10, 20, 30]
    assert [turn["cached_tokens"] for turn in turns] == [0, 10, 20]
    assert "cache_hits" not in {reason["code"] for reason in result["verdict"]["reasons"]}, "they are the point"


def test_the_next_turn_is_due_when_its_speaker_has_thought(tmp_path: Path) -> None:
    with serving(Listener()) as url:
        run(url, tmp_path, "--concurrency", "4", "--requests", "48", "--turns", "4", "--think-ms", "60", *TALK)
    found = by_conversation(tmp_path)
    assert len(found) == 12
    for turns in found.values():
        assert [row["turn"] for row in turns] == [0, 1, 2, 3]
        for before, after in itertools.pairwise(turns):
            assert after["due_ns"] - before["end_ns"] == 60 * MS
    starts = sorted((turns[0]["due_ns"], turns[-1]["end_ns"]) for turns in found.values())
    for (_, _), (opening, _) in zip(starts, starts[4:], strict=False):
        assert sum(first <= opening < last for first, last in starts) <= 4, (
            "a conversation keeps its slot while it thinks"
        )


def test_arrivals_of_an_open_loop_begin_conversations(tmp_path: Path) -> None:
    with serving(Listener()) as url:
        result = run(url, tmp_path, "--rate", "20", "--duration", "2", "--turns", "2", "--think-ms", "30", *TALK)
    found = by_conversation(tmp_path)
    openings = sorted(turns[0]["due_ns"] for turns in found.values())
    assert {b - a for a, b in itertools.pairwise(openings)} == {50 * MS}, "no arrival waits for a turn"
    lengths = Counter(len(turns) for turns in found.values())
    assert lengths[2] >= len(found) - 3, "only what would come after the end is left out"
    last = max(row["due_ns"] for turns in found.values() for row in turns)
    assert last < openings[0] + 2_000 * MS
    assert result["stages"][0]["requests"]["due"] == sum(len(turns) for turns in found.values())


def test_the_end_of_a_stage_is_not_filled_with_beginnings(tmp_path: Path) -> None:
    """Four speakers who think for two seconds say little, also when there is no time left for their next turn."""
    listener = Listener()
    flags = ("--concurrency", "4", "--duration", "5", "--turns", "9", "--think-ms", "1500", *TALK)
    with serving(listener) as url:
        result = run(url, tmp_path, *flags)
    assert 12 <= result["stages"][0]["requests"]["due"] == len(listener.asked) <= 20


def test_an_error_inside_an_answer_ends_its_conversation(tmp_path: Path) -> None:
    class Breaking(Listener):
        def answer(self, body: dict[str, Any]) -> bytes:
            whole = super().answer(body)
            turn = sum(message["role"] == "user" for message in body["messages"]) - 1
            return whole if turn < 1 else ERROR_INSIDE

    with serving(Breaking()) as url:
        result = run(url, tmp_path, "--concurrency", "2", "--requests", "24", "--turns", "3", *TALK)
    assert result["stages"][0]["requests"]["errors"] == {"server_error": 12}
    assert {len(turns) for turns in by_conversation(tmp_path).values()} == {2}


THREE = {"turns": ["one", "two", "three"], "max_output_tokens": 3}
ERROR_INSIDE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunk(b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n')
    + b"0\r\n\r\n"
)


def test_a_failed_turn_ends_its_conversation_and_frees_its_slot(tmp_path: Path) -> None:
    with serving(Listener(fail_turn=1)) as url:
        result = run(url, tmp_path, "--concurrency", "2", "--requests", "24", "--turns", "3", *TALK)
    assert result["stages"][0]["requests"]["errors"] == {"server_error": 12}
    assert {len(turns) for turns in by_conversation(tmp_path).values()} == {2}


def test_a_data_set_brings_its_own_turns_and_scripted_answers(tmp_path: Path) -> None:
    lines = tmp_path / "talks.jsonl"
    share = [
        {"from": "human", "value": "hello"},
        {"from": "gpt", "value": "greetings"},
        {"from": "human", "value": "bye"},
    ]
    lines.write_text(json.dumps({"conversations": share}) + "\n" + json.dumps(THREE) + "\n")
    listener = Listener()
    flags = (
        "--prompts",
        str(lines),
        "--concurrency",
        "1",
        "--requests",
        "25",
        "--max-output-tokens",
        "4",
    )
    with serving(listener) as url:
        run(url, tmp_path, *flags, "--warmup-requests", "0")
    said = [[message["content"] for message in body["messages"]] for body in listener.asked]
    assert said[0] == ["hello"]
    assert said[1] == ["hello", "answer-0 word0 word1", "bye"]
    assert said[2] == ["one"]
    assert said[4] == ["one", "answer-2 word0 word1", "two", "answer-3 word0 word1", "three"]
    assert said[5] == ["hello"]
    assert [body["max_tokens"] for body in listener.asked[:5]] == [4, 4, 3, 3, 3]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_scripted_history_is_the_same_bytes_whatever_the_engine_says(tmp_path: Path, workers: str) -> None:
    said = []
    for tokens in (2, 5):
        listener = Listener(tokens=tokens)
        workload = {
            "schemaVersion": "workload/v1", "name": "talk", "question": "?", "maxOutputTokens": 6,
            "dataset": {"synthetic": {"inputTokens": {"mean": 20, "stddev": 4}}},
            "conversation": {"turns": {"mean": 3, "stddev": 1, "min": 1, "max": 4}, "history": "Scripted"},
            "stages": [{"name": "c2", "concurrency": 2, "requestCount": 30}], "warmup": {"requestCount": 0, "durationSeconds": 0},
        }  # fmt: skip
        (tmp_path / "talk.json").write_text(json.dumps(workload))
        with serving(listener) as url:
            run(
                url, tmp_path, "--workload", str(tmp_path / "talk.json"), "--workers", workers, "--warmup-requests", "0"
            )
        after_salt = [
            [m["content"].partition("]")[2] or m["content"] for m in body["messages"]] for body in listener.asked
        ]
        said.append({json.dumps(words) for words in after_salt if len(words) < 4})
    assert len(said[0] & said[1]) >= 0.8 * len(said[0]), "but for those that the end cut off"
    assert not any("answer-" in words for words in said[0] | said[1])
