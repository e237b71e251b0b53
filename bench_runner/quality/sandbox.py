"""A program of a model's making runs here, or one that reads what a model wrote: no files but what it is given, no network, no other process in sight, and
an end to memory, time, processes and output.

Three layers, each by a tool made for it: bubblewrap (namespaces, an empty root, no privileges), a seccomp filter (libseccomp) against what namespaces leave open, and
limits of the system on processes. Started by root it becomes nobody first, for root is above some of those limits. In a pod, which may make no namespaces,
the pod is the outer wall: see `enclosed`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokenmark_schemas.errors import InvalidInput

from . import enclosed

NOBODY = 65534
GIVEN, TOOLS, SCRATCH = "/given", "/tools", "/tmp"  # noqa: S108  (in the sandbox)
PATH = f"{TOOLS}/node_modules/.bin:/usr/local/bin:/usr/bin:/bin"
MB = 10**6
# what namespaces leave open to a process without privileges, and no compiler or test needs
REFUSED = (
    "acct", "add_key", "bpf", "delete_module", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount",
    "mount_setattr", "move_mount", "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root",
    "memfd_create", "memfd_secret", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "reboot", "request_key", "semget", "setns", "shmget", "swapoff", "swapon", "syslog",
    "umount2", "unshare", "userfaultfd", "vhangup",
)  # fmt: skip
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
AF_UNIX = 1
SHARED_WITHOUT_FILE = 0x21  # MAP_SHARED | MAP_ANONYMOUS: memory that no limit on a process counts


@dataclass(frozen=True)
class Walls:
    """What a program may take. `memory` is what each process may write to, shared memory is not to be had; `processes` are threads too, counted in the sandbox
    alone; `disk` is its only writable folder (/tmp), which lies in memory."""

    seconds: float = 60.0
    memory_bytes: int = 1500 * MB
    processes: int = 128
    disk_bytes: int = 256 * MB
    output_bytes: int = MB


@dataclass(frozen=True)
class Ran:
    """`code` is the program's own, 128 + N after signal N. `ended` says why it was ended from outside; None where it ended by itself."""

    code: int
    out: bytes
    err: bytes
    ended: str | None


def sandboxed(
    words: Sequence[str], files: Mapping[str, bytes], walls: Walls = Walls(), tools: Path | None = None
) -> Ran:
    """Runs `words` in a folder that holds `files`; `tools` is a folder that it sees as /tools. Raises InvalidInput where this machine cannot build the
    walls."""
    if enclosed.is_asked_for():
        return _in_the_pod(words, files, walls)
    with _inputs(files) as folder, tempfile.TemporaryFile() as rules:
        _rules().export_bpf(rules)
        rules.seek(0)
        started = [
            _bubblewrap(),
            *_walls(folder, tools, walls, rules.fileno()),
            "--",
            "/usr/bin/prlimit",
            f"--nproc={walls.processes}",
            "--",
            *words,
        ]
        who: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        with subprocess.Popen(
            started, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[rules.fileno()], env={"PATH": PATH},
            start_new_session=True, preexec_fn=partial(_limit, walls), **who,
        ) as process:  # fmt: skip
            return _watched(process, walls)


def _in_the_pod(words: Sequence[str], files: Mapping[str, bytes], walls: Walls) -> Ran:
    enclosed.must_be_a_wall()
    rules = _rules()

    def before() -> None:
        _limit(walls)
        resource.setrlimit(resource.RLIMIT_NPROC, (walls.processes, walls.processes))
        rules.load()

    with _inputs(files) as folder, enclosed.swept():
        known = {"PATH": PATH, "HOME": SCRATCH, "LANG": "C.UTF-8", "NODE_OPTIONS": _node_memory(walls)}
        with _started(
            list(words), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=known,
            start_new_session=True, preexec_fn=before,
        ) as process:  # fmt: skip
            return _watched(process, walls)


def _started(words: list[str], **how: Any) -> subprocess.Popen[bytes]:
    """Raises InvalidInput where the container's own limits leave no room for ours, or its kernel takes no filter."""
    try:
        return subprocess.Popen(words, **how)
    except subprocess.SubprocessError as exc:
        raise InvalidInput(f"the limits of the sandbox cannot be set in this container: {exc}") from exc


def available() -> str | None:
    """Why this machine has no sandbox, in a sentence; None where it has one."""
    try:
        ran = sandboxed(["/usr/bin/true"], {})
    except InvalidInput as exc:
        return str(exc)
    return (
        None if ran.code == 0 else f"no sandbox can be built here: {ran.err.decode('utf-8', 'replace').strip()[:200]}"
    )


def _bubblewrap() -> str:
    if found := shutil.which("bwrap"):
        return found
    raise InvalidInput(
        "bwrap is not on PATH: what a model wrote is run in a sandbox or not at all; Debian's package bubblewrap brings it"
    )


def _walls(folder: Path, tools: Path | None, walls: Walls, rules: int) -> list[str]:
    links = [word for name in ("bin", "lib", "lib64", "sbin") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    known = {"PATH": PATH, "HOME": SCRATCH, "LANG": "C.UTF-8", "NODE_OPTIONS": _node_memory(walls)}
    return [
        "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--uid", str(NOBODY),
        "--gid", str(NOBODY), "--hostname", "sandbox", "--clearenv", *(word for name, value in known.items() for word in ("--setenv", name, value)),
        "--ro-bind", "/usr", "/usr", *links, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--size", str(walls.disk_bytes), "--tmpfs", SCRATCH,
        "--ro-bind", str(folder), GIVEN, *(["--ro-bind", str(tools), TOOLS, "--symlink", f"{TOOLS}/node_modules", "/node_modules"] if tools else []),
        "--remount-ro", "/", "--chdir", GIVEN, "--seccomp", str(rules),
    ]  # fmt: skip


def _node_memory(walls: Walls) -> str:
    return f"--max-old-space-size={walls.memory_bytes * 2 // 3 // MB}"


def _limit(walls: Walls) -> None:
    """Between fork and exec."""
    for what, most in (
        (resource.RLIMIT_DATA, walls.memory_bytes), (resource.RLIMIT_FSIZE, walls.disk_bytes),
        (resource.RLIMIT_NOFILE, 1024), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, int(walls.seconds) + 1),
    ):  # fmt: skip
        resource.setrlimit(what, (most, most))


def _rules() -> Any:
    """The seccomp filter: all but REFUSED, new namespaces, and sockets of other kinds than AF_UNIX."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as exc:
        raise InvalidInput(
            f"pyseccomp, or libseccomp beneath it, cannot be loaded ({exc}): pip install 'tokenmark[quality]'"
        ) from exc
    rules, no = seccomp.SyscallFilter(seccomp.ALLOW), seccomp.ERRNO(errno.EPERM)
    for name in REFUSED:
        with contextlib.suppress(OSError):  # one that this machine's processor or libseccomp does not know
            rules.add_rule(no, name)
    rules.add_rule(no, "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, SHARED_WITHOUT_FILE, SHARED_WITHOUT_FILE))
    rules.add_rule(no, "socket", seccomp.Arg(0, seccomp.NE, AF_UNIX))
    for bit in (1 << at for at in range(32) if NEW_NAMESPACES >> at & 1):
        rules.add_rule(no, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, bit, bit))
    rules.add_rule(
        seccomp.ERRNO(errno.ENOSYS), "clone3"
    )  # its flags lie in memory, where no filter sees them; C libraries fall back
    return rules


def _watched(process: subprocess.Popen[bytes], walls: Walls) -> Ran:
    """Reads until it ends, is out of time, or says too much."""
    until, ended = time.monotonic() + walls.seconds, None
    said: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    with selectors.DefaultSelector() as pipes:
        for name, pipe in (("out", process.stdout), ("err", process.stderr)):
            assert pipe is not None
            pipes.register(pipe, selectors.EVENT_READ, name)
        while pipes.get_map() and ended is None:
            if (left := until - time.monotonic()) <= 0:
                ended = f"it took longer than {walls.seconds:g} s"
                break
            for key, _ in pipes.select(left):
                piece = os.read(key.fd, 65_536)
                if not piece:
                    pipes.unregister(key.fileobj)
                said[key.data] += piece
                if sum(map(len, said.values())) > walls.output_bytes:
                    ended = f"it said more than {walls.output_bytes:,} bytes"
    if ended is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
        ended = None if process.poll() is not None else f"it took longer than {walls.seconds:g} s"
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # bubblewrap, and with it all of its namespace
    code = process.wait()
    kept = {name: bytes(text[: walls.output_bytes]) for name, text in said.items()}
    return Ran(128 - code if code < 0 else code, kept["out"], kept["err"], ended)


@contextlib.contextmanager
def _inputs(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder that nobody can read and write to."""
    with tempfile.TemporaryDirectory(prefix="tokenmark-sandbox-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        for name, content in files.items():
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise InvalidInput(f"{name} does not lie in the sandbox's folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder
