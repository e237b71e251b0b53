"""Known ways out of a sandbox, each tried: by a program in it, against something that stands outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench_runner.quality.sandbox import Ran, Walls, available, sandboxed
from tests.cluster.debian import have
from tokenmark_schemas.errors import InvalidInput

PYTHON = "/usr/bin/python3"  # Debian's: the project's own lies in a folder that the sandbox does not see
SECRET = "the secret of this machine"


@pytest.fixture(scope="module", autouse=True)
def bubblewrap() -> None:
    have({"bwrap": "bubblewrap"})
    assert available() is None


@pytest.fixture(scope="module")
def outside() -> Iterator[Path]:
    """A folder of this machine, open to everybody, with a secret in it."""
    with tempfile.TemporaryDirectory(prefix="tokenmark-outside-") as made:
        folder = Path(made)
        folder.chmod(0o777)
        (folder / "secret").write_text(SECRET)
        yield folder


def python(program: str, walls: Walls = Walls(seconds=20), **files: bytes) -> Ran:  # noqa: B008
    return sandboxed([PYTHON, "-c", program], files, walls)


def said(program: str, walls: Walls = Walls(seconds=20)) -> str:  # noqa: B008
    """What it printed; it has to have got to its end."""
    ran = python(program, walls)
    assert (ran.code, ran.ended) == (0, None), ran
    return ran.out.decode()


def refused(program: str) -> str:
    """The error that it ended with."""
    ran = python(program)
    assert ran.code == 1, ran
    assert ran.ended is None
    return ran.err.decode().strip().splitlines()[-1]


# --- what it is for -----------------------------------------------------------------------------------------------------


def test_an_honest_program_reads_what_it_was_given_and_is_heard() -> None:
    ran = python("print(open('a').read() + open('b/c').read())", **{"a": b"one ", "b/c": b"two"})
    assert (ran.code, ran.out, ran.err, ran.ended) == (0, b"one two\n", b"", None)
    assert said("import threading, subprocess\nt = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
                "print(subprocess.run(['/usr/bin/echo', 'child'], capture_output=True).stdout)") == "thread\nb'child\\n'\n"  # fmt: skip


def test_what_lies_beside_the_folder_is_not_taken_in() -> None:
    with pytest.raises(InvalidInput, match="does not lie in the sandbox"):
        sandboxed(["/usr/bin/true"], {"../x": b""})


# --- files --------------------------------------------------------------------------------------------------------------


def test_1_a_secret_file_is_not_there(outside: Path) -> None:
    assert "No such file" in refused(f"open({str(outside / 'secret')!r})")


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd", "/root", "/home", "/var/lib", "/run", "/sys/kernel"])
def test_2_the_machines_own_folders_are_not_there(path: str) -> None:
    assert "No such file" in refused(f"import os; os.stat({path!r})")


def test_3_programs_of_the_machine_cannot_be_changed() -> None:
    assert "Read-only file system" in refused("open('/usr/bin/new', 'w')")


def test_4_neither_can_what_it_was_given() -> None:
    assert "Read-only file system" in refused("open('/given/new', 'w')")


def test_5_a_symbolic_link_leads_nowhere(outside: Path) -> None:
    assert "No such file" in refused(
        f"import os; os.symlink({str(outside / 'secret')!r}, '/tmp/link'); open('/tmp/link').read()"
    )


def test_6_the_root_of_another_process_is_no_way_out(outside: Path) -> None:
    found = said(
        f"import os\nfor pid in filter(str.isdigit, os.listdir('/proc')):\n try: print(open(f'/proc/{{pid}}/root{outside}/secret').read())\n except OSError: pass"
    )
    assert SECRET not in found


def test_7_devices_of_the_machine_are_not_there() -> None:
    assert set(said("import os; print(*sorted(os.listdir('/dev')))").split()) <= {
        "console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
    }  # fmt: skip
    assert "Operation not permitted" in refused("import os; os.mknod('/tmp/disk', 0o660 | 0o060000, os.makedev(8, 0))")


# --- network ------------------------------------------------------------------------------------------------------------


def test_8_a_server_of_this_machine_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "Operation not permitted" in refused(
            f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        )


def test_9_nor_one_behind_a_name_that_is_no_file() -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0tokenmark-outside")
        server.listen()
        assert "refused" in refused("import socket; socket.socket(socket.AF_UNIX).connect('\\0tokenmark-outside')")


@pytest.mark.parametrize("family", ["AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_VSOCK"])
def test_10_no_other_kind_of_socket_is_made(family: str) -> None:
    assert "not permitted" in refused(f"import socket; socket.socket(socket.{family}, socket.SOCK_RAW)")


# --- processes ----------------------------------------------------------------------------------------------------------


def test_11_no_process_of_this_machine_is_seen_or_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert "No such process" in refused(f"import os; os.kill({other.pid}, 9)")
        assert len(said("import os; print(*filter(str.isdigit, os.listdir('/proc')))").split()) <= 3
        assert other.poll() is None
        other.communicate(b"\n")


def test_12_no_process_is_traced_or_read_into() -> None:
    ctypes = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); child = os.fork()\nif not child: import time; time.sleep(5)\n"
    calls = "print([(call(), ctypes.get_errno()) for call in (lambda: libc.ptrace(16, child, 0, 0), lambda: libc.process_vm_readv(child, 0, 0, 0, 0, 0))]); os.kill(child, 9)"
    assert said(ctypes + calls) == "[(-1, 1), (-1, 1)]\n"


def test_13_what_goes_on_behind_its_back_ends_with_it(outside: Path) -> None:
    """A daemon: forked twice, in a session of its own, deaf to signals."""
    mark = f"tokenmark-daemon-{os.getpid()}"
    said(
        f"import os, sys\nif not os.fork():\n os.setsid()\n if not os.fork():\n  os.close(1); os.close(2)\n  os.execv({PYTHON!r}, [{PYTHON!r}, '-c', 'import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)', {mark!r}])"
    )
    limit = time.monotonic() + 5
    while (alive := mark in _processes()) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not alive


def test_14_a_bomb_of_processes_stays_small() -> None:
    program = "import os, time\nmade = 0\ntry:\n while made < 5000:\n  if not os.fork(): time.sleep(30)\n  made += 1\nexcept OSError as exc: print(made, exc.errno)"
    made, number = said(program, Walls(seconds=20, processes=64)).split()
    assert (int(made) < 64, number) == (True, "11")


# --- memory, time, output, disk -----------------------------------------------------------------------------------------


def test_15_memory_has_an_end() -> None:
    walls = Walls(seconds=20, memory_bytes=300 * 10**6)
    assert python("x = bytearray(100_000_000); print(len(x))", walls).code == 0
    assert b"MemoryError" in python("x = bytearray(400_000_000)", walls).err
    assert b"MemoryError" in python("x = []\nwhile True: x.append(bytearray(1_000_000))", walls).err


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
    ],
)
def test_16_time_has_an_end(program: str) -> None:
    began = time.monotonic()
    assert python(program, Walls(seconds=1)).ended == "it took longer than 1 s"
    assert time.monotonic() - began < 10


def test_17_output_has_an_end() -> None:
    ran = python("import sys\nwhile True: sys.stdout.write('x' * 100_000)", Walls(seconds=20, output_bytes=500_000))
    assert ran.ended == "it said more than 500,000 bytes"
    assert len(ran.out) == 500_000


def test_18_disk_has_an_end() -> None:
    walls = Walls(seconds=20, disk_bytes=20 * 10**6)
    many = "import os\ntry:\n for n in range(100): open(f'/tmp/{n}', 'wb').write(bytes(1_000_000))\nexcept OSError as exc: print(n, exc.errno)"
    written, number = said(many, walls).split()
    assert (10 <= int(written) <= 20, number) == (True, "28")
    assert (
        python(
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); open('/tmp/x', 'wb').write(bytes(30_000_000))",
            walls,
        ).code
        == 1
    )


@pytest.mark.parametrize("folder", ["/dev", "/dev/shm", "/given", "/usr", "/", "/proc"])
def test_18_no_other_folder_can_be_filled(folder: str) -> None:
    ran = python(f"open({folder!r} + '/x', 'wb').write(b'x')")
    assert ran.code == 1
    assert any(word in ran.err for word in (b"Read-only", b"Permission denied", b"No such file")), ran.err


@pytest.mark.parametrize(
    "program",
    [
        "import mmap; mmap.mmap(-1, 2**28)",
        "import os; os.memfd_create('x')",
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\nif libc.shmget(0, 2**28, 0o1600) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))",
    ],
)
def test_15_memory_that_no_limit_counts_is_not_to_be_had(program: str) -> None:
    assert "Operation not permitted" in refused(program)


# --- privileges ---------------------------------------------------------------------------------------------------------


def test_19_no_privilege_is_had_or_got() -> None:
    assert "CapEff:\t0000000000000000" in said("print(open('/proc/self/status').read())")
    assert "NoNewPrivs:\t1" in said("print(open('/proc/self/status').read())")
    assert "Invalid argument" in refused("import os; os.setuid(0)"), "there is no such user in there"


@pytest.mark.parametrize("call", [
    "unshare(0x10000000)", "unshare(0x20000)", "mount(b'none', b'/tmp', b'tmpfs', 0, 0)", "setns(0, 0)", "umount2(b'/proc', 2)",
    "syscall(425, 8, 0)", "syscall(321, 0, 0, 0)", "syscall(248, 0, 0, 0, 0)", "syscall(298, 0, 0, 0, 0, 0)", "syscall(323, 0)",
    "syscall(56, 0x10000011, 0, 0, 0, 0)",
])  # fmt: skip
def test_20_no_namespace_is_made_and_no_dangerous_door_of_the_kernel_opens(call: str) -> None:
    """By number: io_uring_setup, bpf, add_key, perf_event_open, userfaultfd, clone with a namespace of users."""
    assert (
        said(f"import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.{call}, ctypes.get_errno())")
        == "-1 1\n"
    )


def test_21_no_environment_and_no_open_file_of_ours_is_inherited(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert SECRET not in said("import os; print(dict(os.environ))")
    with (outside / "secret").open() as file:
        os.set_inheritable(file.fileno(), True)
        found = said(
            "import os\nfor fd in range(3, 200):\n try: print(os.readlink(f'/proc/self/fd/{fd}'))\n except OSError: pass"
        )
    assert "secret" not in found


def test_22_there_is_no_terminal_to_type_into() -> None:
    assert "No such device" in refused("open('/dev/tty')")


@pytest.mark.skipif(os.geteuid() != 0, reason="the others have shown it")
def test_it_stands_for_a_person_without_privileges_too() -> None:
    """In a child that becomes nobody in particular."""
    sandboxed(["/usr/bin/true"], {})  # what it imports lies where that one could not read it
    if (child := os.fork()) == 0:
        os.setgroups([])
        os.setgid(1234)
        os.setuid(1234)
        others = [subprocess.Popen(["/usr/bin/sleep", "30"]) for _ in range(40)]  # a desktop has more
        stands = (
            b"No such file" in python("open('/etc/shadow')", Walls(seconds=20, processes=20)).err
            and available() is None
        )
        for other in others:
            other.kill()
        os._exit(0 if stands else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _processes() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)
