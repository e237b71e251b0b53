"""The embedded cluster: up, down and everything between, from any state that an earlier one left."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import controlplane, images, network, nodes, pki, processes, tools
from .layout import CACHE, LOGS, RUN, STATE, note
from .shell import ClusterError, run, wait_for

NODES = 2
NAMES = [nodes.name_of(i) for i in range(1, NODES + 1)]
PROGRAMS = ["etcd", "apiserver", "controller-manager", "scheduler", "coredns"] + [
    f"{name}-{part}" for name in NAMES for part in ("containerd", "kubelet", "proxy")
]
COMPLETE = STATE / "complete"


class Embedded:
    """Two nodes on this machine. Needs root on Linux."""

    name = "embedded"
    registry = None

    def tools(self) -> None:
        """Everything that is built or installed once, in parallel where it helps."""
        tools.debian_packages()
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(self._build_tools), pool.submit(images.base_images)]
            for job in jobs:
                job.result()

    @staticmethod
    def _build_tools() -> None:
        for tool in tools.EMBEDDED:
            tools.build(tool)

    def up(self) -> None:
        """A living cluster is left as it is; anything else is taken down first."""
        self._check_machine()
        with self._lock():
            if self._healthy():
                return
            self.tools()
            self._clear()
            began = time.monotonic()
            for part in (STATE, LOGS, RUN):
                part.mkdir(parents=True, exist_ok=True)
            pki.make([(name, network.node_address(i)) for i, name in enumerate(NAMES, start=1)])
            network.up(NODES)
            controlplane.up()
            for index in range(1, NODES + 1):
                nodes.up(index)
            self.load(images.pause_archive())
            wait_for("all nodes are Ready", self._nodes_ready, 120, f"see {LOGS}")
            COMPLETE.touch()
            note(f"{NODES} nodes Ready in {time.monotonic() - began:.1f} s")

    def down(self) -> None:
        """Leaves no process, mount, namespace, route or cgroup behind."""
        with self._lock():
            self._clear()
            left = nodes.leftovers() + network.leftovers()
            if left:
                raise ClusterError(f"left behind: {', '.join(left)}")

    def status(self) -> str:
        lines = [f"{name:<22} {'runs' if processes.alive(name) else 'is not running'}" for name in PROGRAMS]
        lines.append(f"state {STATE}, cache {CACHE}, logs {LOGS}")
        return "\n".join(lines)

    def kubeconfig(self) -> Path:
        return STATE / "admin.kubeconfig"

    def kubectl(self) -> Path:
        return tools.program("kubectl")

    def helm(self) -> Path:
        return tools.program("helm")

    def load(self, archive: Path) -> None:
        """Into every node."""
        for name in NAMES:
            nodes.load(name, archive)

    # --- parts ------------------------------------------------------------------------------------------------------

    @contextmanager
    def another_node(self, *archives: Path) -> Iterator[str]:
        """A third node with these images, for as long as the block lasts."""
        index = NODES + 1
        name = nodes.name_of(index)
        pki.make([(name, network.node_address(index))])
        network.up(index)
        nodes.up(index)
        try:
            for archive in (images.pause_archive(), *archives):
                nodes.load(name, archive)
            wait_for(f"{name} is Ready", lambda: self._ready_nodes() == index, 60, f"see {LOGS}")
            yield name
        finally:
            nodes.leave(name)
            run(
                [self.kubectl(), "--kubeconfig", self.kubeconfig(), "delete", "node", name, "--ignore-not-found"],
                check=False,
            )
            network.remove(index)

    def _clear(self) -> None:
        found = [path.name for path in STATE.glob("node[0-9]*") if path.is_dir()]
        nodes.down(sorted({*NAMES, *found}))
        controlplane.down()
        processes.stop(*processes.names())
        network.down(NODES + 1)
        for _ in range(3):
            shutil.rmtree(STATE, ignore_errors=True)
            if not STATE.exists():
                return
        raise ClusterError(f"{STATE} cannot be removed; look for mounts below it")

    def _healthy(self) -> bool:
        """Complete, and alive: an `up` that was cut off leaves programs that run and lack something."""
        alive = COMPLETE.exists() and all(processes.alive(name) for name in PROGRAMS)
        return alive and controlplane.ready() and self._nodes_ready()

    def _nodes_ready(self) -> bool:
        return self._ready_nodes() == NODES

    def _ready_nodes(self) -> int:
        """How many there are, all of them Ready; else nought."""
        query = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}'
        out = run(
            [self.kubectl(), "--kubeconfig", self.kubeconfig(), "get", "nodes", "-o", f"jsonpath={query}"], check=False
        )
        return len(out.split()) if set(out.split()) == {"True"} else 0

    @staticmethod
    def _check_machine() -> None:
        if os.name != "posix" or not Path("/proc/self/ns/net").exists():
            raise ClusterError("the embedded cluster needs Linux; set KUBECONFIG, or start a Docker engine for kind")
        if os.geteuid() != 0:
            raise ClusterError("the embedded cluster needs root; run as root, set KUBECONFIG, or start a Docker engine")

    @staticmethod
    @contextmanager
    def _lock() -> Iterator[None]:
        """One up or down at a time."""
        with (CACHE / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
