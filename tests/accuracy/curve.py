"""The verdict's operating curve: servers of every legal shape against clients that are left alone and that are not.

`python -m tests.accuracy.curve [--trials N] [--write]` prints the shares; --write puts them into docs/verdict.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.rig.rig import cores
from tests.support.shapes import MODEL, SHAPES, TOKENS

CLI = [sys.executable, "-m", "bench_runner"]
DOCS = Path(__file__).parents[2] / "docs" / "verdict.md"
BEGIN, END = "<!-- curve -->\n", "<!-- /curve -->"


@contextmanager
def server(shape: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Its address and its truth."""
    truth = folder / "truth.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.shapes", shape, "--truth", str(truth)],
        stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores()[0]),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", truth
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stdout.close()


def worker_of(pid: int) -> int:
    """The load process of a running client: its youngest child, once there is one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[-1])
        time.sleep(0.01)
    raise AssertionError("the client started no worker")


def stopped(seconds: float, times: int = 1, apart_s: float = 0.0) -> Callable[[int], None]:
    def stop(pid: int) -> None:
        worker = worker_of(pid)
        for _ in range(times):
            os.kill(worker, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(worker, signal.SIGCONT)
            time.sleep(apart_s)

    return stop


def crowded(count: int, seconds: float) -> Callable[[int], None]:
    """Processes that want the client's core all the time."""

    def crowd(_pid: int) -> None:
        spin = f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"
        others = [
            subprocess.Popen([sys.executable, "-c", spin], preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]))
            for _ in range(count)
        ]
        for process in others:
            process.wait()

    return crowd


STATES: dict[str, Callable[[int], None]] = {
    "idle": lambda _pid: None,
    "stopped for 50 ms": stopped(0.05),
    "stopped for 300 ms": stopped(0.3),
    "stopped 20 of 60 ms": stopped(0.02, 40, 0.04),
    "three busy neighbours": crowded(3, 4.0),
}


def trial(shape: str, state: str, folder: Path, *flags: str) -> dict[str, Any]:
    """One run: eight streams for four seconds, disturbed when a quarter of it is over."""
    engine = "ollama" if shape == "lines_of_json" else "openai"
    with server(shape, folder) as (url, truth):
        words = [*CLI, "run", "--target", url, "--engine", engine, "--model", MODEL, "--out", str(folder), "--name", "t",
                 "--quiet", "--format", "json", "--concurrency", "8", "--duration", "4", "--input-tokens", "20",
                 "--max-output-tokens", str(TOKENS), "--warmup-requests", "8", *flags]  # fmt: skip
        client = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]),
        )
        waited = time.monotonic() + 30
        while not truth.exists() or truth.read_text().count("-c8-") < 50:
            if client.poll() is not None or time.monotonic() > waited:
                raise AssertionError(client.communicate())
            time.sleep(0.02)
        trouble = threading.Thread(target=STATES[state], args=(client.pid,))
        trouble.start()
        out, err = client.communicate(timeout=60)
        trouble.join()
    assert out, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


def table(trials: int) -> tuple[str, bool]:
    """The curve as Markdown, and whether every cell is what it has to be."""
    lines = [f"| shape | {' | '.join(STATES)} |", "|---|" + "---|" * len(STATES)]
    right, reasons = True, Counter[str]()
    for shape in SHAPES:
        cells = []
        for state in STATES:
            verdicts: Counter[str] = Counter()
            for _ in range(trials):
                with tempfile.TemporaryDirectory() as folder:
                    verdict = trial(shape, state, Path(folder))["verdict"]
                verdicts[verdict["state"]] += 1
                if state == "idle":
                    reasons.update(reason["code"] for reason in verdict["reasons"])
            right &= (verdicts["valid"] == trials) if state == "idle" else not verdicts["valid"]
            cells.append(
                " ".join(f"{verdicts[s]}/{trials} {s}" for s in ("valid", "degraded", "invalid") if verdicts[s])
            )
            print(shape, state, dict(verdicts), file=sys.stderr, flush=True)
        lines.append(f"| {shape.replace('_', ' ')} | {' | '.join(cells)} |")
    said = ", ".join(f"`{code}` {count}" for code, count in reasons.most_common()) or "none"
    return "\n".join(lines) + f"\n\n{trials} runs a cell; reasons that idle clients were given: {said}.\n", right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="into docs/verdict.md")
    arguments = parser.parse_args()
    text, right = table(arguments.trials)
    print(text)
    if arguments.write:
        page = DOCS.read_text()
        DOCS.write_text(page[: page.index(BEGIN) + len(BEGIN)] + text + page[page.index(END) :])
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
