"""The whole instrument over real sockets, against a server that knows when it really sent.

Bounds are wide enough for a shared machine: tight ones belong to `make bench`, where a floor runs beside.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import re
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.results import a_result
from tests.support.serving import in_thread

CLI = [sys.executable, "-m", "bench_runner"]


@contextmanager
def simulator(folder: Path, *flags: str) -> Iterator[tuple[str, Path]]:
    """A simulator process: its address and its truth log."""
    truth = folder / "truth.jsonl"
    process = subprocess.Popen(
        [*CLI, "sim", "--listen", "127.0.0.1:0", "--truth", str(truth), *flags], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    try:
        yield line.split()[3].rstrip(","), truth
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stderr.close()


# what other tenants of the machine do to an idle client
NEIGHBOURS = {"run_delay", "loop_lag", "read_lag", "send_lag"}
CHANCES = 6
PAUSES_S = (0, 1, 3, 6, 12, 20)  # before each of them: a neighbour's work comes to an end


def disturbed(result: dict[str, Any]) -> bool:
    """Whether other tenants of this machine were in the way of a run."""
    return bool({reason["code"] for reason in result["verdict"]["reasons"]} & NEIGHBOURS)


def healthy(url: str, out: Path, *flags: str) -> dict[str, Any]:
    """A run that has to be `valid`; where it was disturbed it gets further chances."""
    for attempt, pause_s in enumerate(PAUSES_S):
        time.sleep(pause_s)
        result = run(url, out / str(attempt), *flags)
        if not disturbed(result):
            break
    assert (result["verdict"]["state"], result["verdict"]["reasons"]) == ("valid", [])
    return result


def run(url: str, out: Path, *flags: str, code: int = 0, cli: Sequence[str] = CLI) -> dict[str, Any]:
    """`tokenmark run`; refuses a vacuous result. A run that was disturbed until it was invalid is made again."""
    words = [*cli, "run", "--target", url, "--model", "sim", "--out", str(out), "--name", "t", "--format", "json",
             "--quiet", "--detail", "chunks", "--warmup-requests", "3", *flags]  # fmt: skip
    for _ in range(CHANCES):
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 4 or code == 4 or not disturbed(json.loads(done.stdout)):
            break
    assert done.returncode == code, f"exit code {done.returncode}: {done.stderr}{done.stdout[-2000:]}"
    return json.loads(done.stdout) if done.stdout else {}


def rows(out: Path) -> list[dict[str, Any]]:
    import gzip

    text = gzip.decompress((out / "t" / "requests.jsonl.gz").read_bytes()).decode()
    found = [json.loads(line) for line in text.splitlines()]
    assert len(found) >= 20, "too few requests to say anything"
    return found


def truths(path: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}


def test_every_token_is_counted_and_stamped_close_to_when_it_was_sent(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "30", "--itl-ms", "4", "--jitter-ms", "3") as (url, truth):
        result = run(
            url, tmp_path, "--concurrency", "8", "--requests", "80", "--max-output-tokens", "24", "--input-tokens", "40"
        )
        known = truths(truth)
    assert result["stages"][0]["requests"]["succeeded"] == 80
    errors_us = []
    for row in rows(tmp_path):
        real = known[row["id"]]
        assert row["output_tokens"] == real["tokens"] == 24
        assert len(row["content_ns"]) == len(real["sent_ns"])
        errors_us += [(got - sent) / 1000 for got, sent in zip(row["content_ns"], real["sent_ns"], strict=True)]
    errors_us.sort()
    assert errors_us[0] > -50, "a token cannot arrive before it was sent"
    assert errors_us[len(errors_us) // 2] < 500
    assert errors_us[int(len(errors_us) * 0.9)] < 5_000


def test_an_open_loop_keeps_its_schedule_while_the_server_is_slow(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "400", "--itl-ms", "1") as (url, _):
        run(url, tmp_path, "--rate", "20", "--duration", "3", "--max-output-tokens", "4")
    found = rows(tmp_path)
    assert 58 <= len(found) <= 61
    due = sorted(row["due_ns"] for row in found)
    assert all(abs((b - a) - 50_000_000) <= 1 for a, b in pairwise(due))
    assert sorted((row["sent_ns"] - row["due_ns"]) / 1e6 for row in found)[len(found) // 2] < 20


IMPATIENT = [
    sys.executable,
    "-c",
    "import tokenmark_schemas.run_length as run, bench_runner.cli as cli; run.DRAIN_LIMIT_S = 1; cli.entry()",
]


def test_what_is_asked_for_by_count_is_waited_for_and_what_is_by_time_is_cut_off(tmp_path: Path) -> None:
    """Every answer takes three times as long as a stage by time waits for its last ones."""
    with simulator(tmp_path, "--ttft-ms", "3000", "--itl-ms", "1") as (url, _):
        load = ("--concurrency", "2", "--max-output-tokens", "4", "--warmup-requests", "2")
        counted = run(url, tmp_path / "count", *load, "--requests", "4", cli=IMPATIENT)["stages"][0]["requests"]
        timed = run(url, tmp_path / "time", *load, "--duration", "4", cli=IMPATIENT, code=4)["stages"][0]["requests"]
    assert (counted["sent"], counted["succeeded"], counted["cancelled"]) == (4, 4, 0)
    assert (timed["sent"], timed["succeeded"], timed["cancelled"]) == (4, 2, 2)


def test_a_stall_is_in_the_gaps_and_not_in_ttft(tmp_path: Path) -> None:
    flags = ("--stall-share", "1", "--stall-ms", "300", "--stall-at", "4", "--ttft-ms", "10", "--itl-ms", "2")
    with simulator(tmp_path, *flags) as (url, _):
        result = run(url, tmp_path, "--concurrency", "4", "--requests", "40", "--max-output-tokens", "8")
    metrics = result["stages"][0]["metrics"]
    assert metrics["ttft"]["p50"] < 0.1
    assert 0.29 < metrics["chunk_gap"]["max"] < 0.6


def test_errors_and_cut_off_answers_are_counted_by_class(tmp_path: Path) -> None:
    with simulator(
        tmp_path, "--error-share", "0.2", "--abort-share", "0.2", "--itl-ms", "1", "--error-status", "503"
    ) as (url, _):
        result = run(url, tmp_path, "--concurrency", "4", "--requests", "200", "--max-output-tokens", "8")
    requests = result["stages"][0]["requests"]
    assert requests["sent"] == 200
    assert requests["succeeded"] + requests["failed"] == 200
    assert 15 < requests["errors"]["server_error"] < 70
    assert requests["error_messages"].keys() == requests["errors"].keys()
    assert requests["error_messages"]["server_error"].startswith("HTTP 503: ")
    assert requests["errors"].get("truncated", 0) + requests["errors"].get("disconnected", 0) > 10
    assert result["stages"][0]["metrics"]["ttft"]["count"] == requests["succeeded"]


def test_reasoning_and_several_tokens_a_chunk(tmp_path: Path) -> None:
    with simulator(tmp_path, "--reasoning-tokens", "2", "--chunk-tokens", "4", "--itl-ms", "5", "--ttft-ms", "10") as (
        url,
        _,
    ):
        result = run(url, tmp_path, "--concurrency", "2", "--requests", "24", "--max-output-tokens", "32")
    metrics = result["stages"][0]["metrics"]
    assert result["stages"][0]["tokens"]["output"] == 24 * 32
    assert metrics["ttfo"]["p50"] - metrics["ttft"]["p50"] == pytest.approx(0.040, abs=0.015)
    assert metrics["tpot"]["p50"] == pytest.approx(0.005 * 28 / 31, rel=0.25)
    assert metrics["itl"]["count"] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_was_measured(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with simulator(tmp_path) as (url, _):
        words = [*CLI, "run", "--target", url, "--model", "sim", "--out", str(tmp_path), "--name", "t", "--quiet",
                 "--warmup-requests", "1", "--concurrency", "2", "--duration", "60"]  # fmt: skip
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        log = tmp_path / "t" / "requests.jsonl.gz"
        limit = time.monotonic() + 30
        while not log.exists() and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(8)  # the warm-up takes five seconds; then some requests
        process.send_signal(number)
        began = time.monotonic()
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == code, stderr
    assert time.monotonic() - began < 5
    assert "Traceback" not in stderr
    result = json.loads((tmp_path / "t" / "result.json").read_text())
    assert result["run"]["interrupted"] is True
    assert result["verdict"]["state"] == "invalid"
    assert result["stages"][0]["requests"]["succeeded"] > 0


def test_load_ends_when_the_process_that_wanted_it_is_killed(tmp_path: Path) -> None:
    with simulator(tmp_path) as (url, truth):
        words = [
            *CLI,
            "run",
            "--target",
            url,
            "--model",
            "sim",
            "--out",
            str(tmp_path),
            "--quiet",
            "--concurrency",
            "2",
            "--duration",
            "60",
        ]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 30
        while truth.stat().st_size < 100 and time.monotonic() < limit:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1.5)
        size = truth.stat().st_size
        time.sleep(1.0)
        assert truth.stat().st_size == size, "somebody still sends"


def test_the_builders_result_is_a_result() -> None:
    assert a_result().verdict.state == "valid"


class ClosesUnannounced(socketserver.BaseRequestHandler):
    """One whole keep-alive answer, then the connection is closed: as some servers do."""

    BODY = (
        b'data: {"choices":[{"delta":{"content":"a"}}],"model":"sim"}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
    )

    def handle(self) -> None:
        if self.request.recv(65536):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.request.sendall(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.BODY), self.BODY))


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """A server of the test's own; its address."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        with in_thread(server):
            yield f"http://127.0.0.1:{server.server_address[1]}"


def test_a_kept_connection_that_the_server_closed_costs_no_request(tmp_path: Path) -> None:
    with serving(ClosesUnannounced) as url:
        stage = run(url, tmp_path, "--concurrency", "2", "--requests", "60")["stages"][0]
    assert stage["requests"]["succeeded"] == 60
    assert stage["requests"]["errors"] == {}
    assert stage["client"]["stale_connections"] > 0


class Answers(socketserver.BaseRequestHandler):
    """Reads a request, answers with `answer`, closes."""

    answer = b""

    def handle(self) -> None:
        if self.request.recv(65536):
            with suppress(OSError):
                self.request.sendall(self.answer)


class NeverEnds(Answers):
    def handle(self) -> None:
        if self.request.recv(65536):
            with suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                while True:
                    self.request.sendall(b": " + bytes(2**20))


class CountsInWords(Answers):
    answer = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {"usage":{"completion_tokens":"12"}}\n\n'


class EchoesTheToken(Answers):
    answer = b'HTTP/1.1 401 No\r\nContent-Length: 47\r\n\r\n{"error": "Bearer s3cret-t0ken is not welcome"}'


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (NeverEnds, "larger than 64 MiB"),
        (CountsInWords, "Expected `int`, got `str` - at `$.usage.completion_tokens`"),
        (EchoesTheToken, "Bearer ************ is not welcome"),
    ],
)
def test_whatever_a_server_answers_ends_in_a_sentence(
    tmp_path: Path, handler: type[Answers], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cret-t0ken")
    with serving(handler) as url:
        words = [*CLI, "run", "--target", url, "--model", "m", "--out", str(tmp_path), "--quiet", "--token-env",
                 "MY_TOKEN", "--warmup-requests", "0", "--concurrency", "1", "--requests", "1"]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 5, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr + done.stdout


class ResetsEveryOther(socketserver.BaseRequestHandler):
    """Every second connection is reset while its large request is still being sent."""

    count = itertools.count()

    def handle(self) -> None:
        if next(self.count) % 2:
            self.request.recv(1024)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        got = self.request.recv(2**20)
        length = int(got.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        size = got.index(b"\r\n\r\n") + 4 + length
        while len(got) < size:
            got += self.request.recv(2**20)
        body = ClosesUnannounced.BODY
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body)


def test_a_connection_that_breaks_while_sending_counts_once(tmp_path: Path) -> None:
    with serving(ResetsEveryOther) as url:
        flags = ("--concurrency", "4", "--requests", "60", "--input-tokens", "300000", "--warmup-requests", "0")
        stage = run(url, tmp_path, *flags, code=0)["stages"][0]
    requests = stage["requests"]
    assert requests["due"] == 60
    assert requests["succeeded"] + requests["failed"] == 60
    assert requests["failed"] >= 15


def test_a_disk_that_is_full_costs_the_files_and_not_the_numbers(tmp_path: Path) -> None:
    words = [*CLI, "run", "--target", "sim", "--model", "sim", "--out", str(tmp_path), "--name", "t", "--quiet",
             "--format", "json", "--concurrency", "2", "--requests", "120", "--warmup-requests", "1"]  # fmt: skip
    done = subprocess.run(["prlimit", "--fsize=5000", *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["stages"][0]["requests"]["succeeded"] == 120
    assert "result.json cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_a_picture_shows_how_it_goes_and_leaves_nothing_but_lines(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    words = [*CLI, "run", "--target", "sim", "--model", "sim", "--concurrency", "1,2", "--duration", "2", "--out",
             str(tmp_path), "--warmup-requests", "2", "--max-output-tokens", "8"]  # fmt: skip
    with subprocess.Popen(words, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm"}) as client:
        os.close(follower)
        drawn = b""
        with suppress(OSError):  # the other end is closed when the run is over
            while piece := os.read(leader, 65_536):
                drawn += piece
        os.close(leader)
    assert client.returncode in (0, 4)
    text = drawn.decode()
    assert "so far" in text
    assert "sent " in text
    assert re.search(r"c1 1/1 +\d s · \d+ done", text), "a phase that is over leaves a line"
    assert "verdict" in text.rpartition("so far")[2]
