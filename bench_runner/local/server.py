"""A server of this machine with one model, for as long as a `with` block lasts: a port that is free, a wait until it answers, its log kept, and
an end that leaves nothing, however we end.

Why it did not come or did not stay is told from its own last words and from how it ended.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tokenmark_schemas.errors import RunFailed

from .launch import LOAD_S, NO_MEMORY, STORE, Beyond, Launch

KEEPER = Path(__file__).with_name("keeper.py")
GRACE_S = 10.0
PORTS = 3  # that are tried: between looking and listening somebody else may take one
LOOK_S = 0.1
LAST_BYTES = 4096
LOCK = ".lock"
BOUND = re.compile(rb"address already in use|couldn't bind|failed to bind|bind: ", re.IGNORECASE)
NO_MODEL = re.compile(
    rb"(error loading model|failed to load model|invalid magic|unknown model architecture)[^\n]*", re.IGNORECASE
)


class Running:
    """A server that answers."""

    def __init__(self, name: str, url: str, log: Path, keeper: subprocess.Popen[bytes]) -> None:
        self.name, self.url, self.log, self._keeper = name, url, log, keeper

    def ended(self) -> str | None:
        """Why it is no more, in a sentence; None while it lives."""
        code = self._keeper.poll()
        return None if code is None else why(self.name, code, self.log)

    def beyond(self) -> bool:
        """Of one that ended: for want of memory."""
        code = self._keeper.poll()
        return code is not None and is_beyond(code, self.log)

    def pids(self) -> list[int]:
        """The server and whatever it started."""
        found = _children(self._keeper.pid)
        for pid in found:
            found += _children(pid)
        return found

    def resident_bytes(self) -> int:
        """What of this machine's memory it holds now."""
        total = 0
        for pid in self.pids():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
        return total * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(launch: Launch, folder: Path, ready_s: float = LOAD_S) -> Iterator[Running]:
    """Raises RunFailed where it does not come within `ready_s`; its words are in `folder`/NAME-PID.log, ours the number."""
    folder.mkdir(parents=True, exist_ok=True)
    with _stored(launch.store):
        running = _started(launch, folder, ready_s)
        try:
            yield running
        finally:
            _end(running._keeper)


@contextmanager
def _stored(store: Path | None) -> Iterator[None]:
    """A folder of its own, gone with its server. Whoever uses one holds a lock beside it, which ends with him however he ends: what is left of others the next one takes
    away."""
    if store is None:
        yield
        return
    for lock in store.parent.glob(f"{STORE}*{LOCK}"):
        with lock.open("rb") as file:
            if _locked(file):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
    own = store.with_name(f"{store.name}{LOCK}")
    with own.open("wb") as file:
        _locked(file)
        store.mkdir()
        try:
            yield
        finally:
            shutil.rmtree(store, ignore_errors=True)
            own.unlink(missing_ok=True)


def _locked(file: IO[bytes]) -> bool:
    """Whether it is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _started(launch: Launch, folder: Path, ready_s: float) -> Running:
    name = Path(launch.program).name
    log = folder / f"{name}-{os.getpid()}.log"
    for chance in range(PORTS):
        port, until = free_port(), time.monotonic() + ready_s
        with log.open("wb") as out:
            keeper = subprocess.Popen(
                [sys.executable, "-I", str(KEEPER), str(GRACE_S), *launch.words(port)], stdin=subprocess.PIPE, stdout=out, stderr=out,
                env={**os.environ, **launch.environment(port)}, start_new_session=True,
            )  # fmt: skip
        try:
            if _comes(keeper, port, launch.ready, ready_s):
                launch.load(port, max(1.0, until - time.monotonic()))
                return Running(name, f"http://127.0.0.1:{port}", log, keeper)
        except BaseException:
            _end(keeper)
            raise
        code = keeper.poll()
        _end(keeper)
        if code is None:
            raise Beyond(f"{name} did not answer within {ready_s:.0f} s; its last words in {log}: {_last_line(log)}")
        if not BOUND.search(_tail(log)) or chance == PORTS - 1:
            said = why(name, code, log)
            raise Beyond(said) if is_beyond(code, log) else RunFailed(said)
    raise AssertionError("unreachable")


def _comes(keeper: subprocess.Popen[bytes], port: int, path: str, ready_s: float) -> bool:
    """Whether it answers with 200 before it ends or the time does."""
    limit = time.monotonic() + ready_s
    while keeper.poll() is None and time.monotonic() < limit:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return keeper.poll() is None  # else it is somebody else who answers there
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(LOOK_S)
    return False


def _end(keeper: subprocess.Popen[bytes]) -> None:
    assert keeper.stdin is not None
    keeper.stdin.close()
    try:
        keeper.wait(GRACE_S + 5)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def is_beyond(code: int, log: Path) -> bool:
    """Whether it ended for want of memory."""
    return code - 128 == signal.SIGKILL or NO_MEMORY.search(_tail(log)) is not None


def why(name: str, code: int, log: Path) -> str:
    """What ended a server, from its exit code and its last words."""
    said = _tail(log)
    if NO_MEMORY.search(said):
        return f"{name} has too little memory: {_last_line(log, NO_MEMORY)}; a shorter context or a smaller quantisation needs less (see {log})"
    if BOUND.search(said):
        return f"{name} finds its port taken, {PORTS} times: {_last_line(log, BOUND)} (see {log})"
    if found := NO_MODEL.search(said):
        return f"{name} cannot load the model: {found[0].decode('utf-8', 'replace').strip()} (see {log})"
    if (number := code - 128) in {each.value for each in signal.Signals}:
        by = "; the system does so when memory runs out" if number == signal.SIGKILL else ""
        return f"{name} was ended by {signal.Signals(number).name}{by}; see {log}"
    return f"{name} ended with {code}; its last words in {log}: {_last_line(log)}"


def _tail(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_BYTES))
            return file.read()
    except OSError:
        return b""


def _last_line(log: Path, pattern: re.Pattern[bytes] | None = None) -> str:
    lines = [line for line in _tail(log).splitlines() if line.strip() and (pattern is None or pattern.search(line))]
    return lines[-1].decode("utf-8", "replace").strip()[:300] if lines else "none"


def _children(pid: int) -> list[int]:
    """Whichever of its threads started them."""
    found = list[int]()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return found


def free_port() -> int:
    """On loopback, a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
