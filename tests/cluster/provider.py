"""Which cluster: KUBECONFIG if set, else kind where a Docker engine answers, else the embedded one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from . import tools
from .embedded import Embedded
from .layout import CACHE
from .shell import ClusterError, run


class Cluster(Protocol):
    """What tests and `make` need of a cluster."""

    name: str
    registry: str | None  # where it pulls from; None where archives are loaded into it

    def tools(self) -> None: ...
    def up(self) -> None: ...
    def down(self) -> None: ...
    def status(self) -> str: ...
    def kubeconfig(self) -> Path: ...
    def kubectl(self) -> Path: ...
    def helm(self) -> Path: ...
    def load(self, archive: Path) -> None: ...


def choose() -> Cluster:
    """The first that applies."""
    given = os.environ.get("KUBECONFIG")
    if given:
        return Existing(Path(given))
    if shutil.which("docker") and run(["docker", "info", "--format", "{{.ServerVersion}}"], check=False).strip():
        return Kind()
    return Embedded()


def _found(name: str) -> Path:
    found = shutil.which(name)
    return Path(found) if found else tools.program(name)


class Existing:
    """A cluster that somebody else runs: images go to a registry that it can pull from."""

    name = "existing"

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def registry(self) -> str:
        given = os.environ.get("TOKENMARK_REGISTRY", "").rstrip("/")
        if not given:
            raise ClusterError(
                "KUBECONFIG names a cluster of yours: set TOKENMARK_REGISTRY to where it can pull images from and you "
                "may push to, such as registry.example/me"
            )
        return given

    def tools(self) -> None:
        self.kubectl(), self.helm()

    def up(self) -> None:
        if "ok" not in run([self.kubectl(), "--kubeconfig", self._path, "get", "--raw", "/readyz"], check=False):
            raise ClusterError(f"the cluster of KUBECONFIG={self._path} does not answer")

    def down(self) -> None:
        raise ClusterError(f"the cluster of KUBECONFIG={self._path} is not ours to take down")

    def status(self) -> str:
        return f"existing cluster, {self._path}"

    def kubeconfig(self) -> Path:
        return self._path

    def kubectl(self) -> Path:
        return _found("kubectl")

    def helm(self) -> Path:
        return _found("helm")

    def load(self, archive: Path) -> None:
        raise ClusterError(f"{archive.name} cannot be loaded into a cluster of yours")


class Kind:
    """kind on a Docker engine. Written for machines that have one; not exercised where there is none."""

    name = "kind"
    registry = None
    _cluster = "tokenmark"

    def tools(self) -> None:
        _found("kubectl"), _found("helm")
        if shutil.which("kind") is None:
            raise ClusterError("a Docker engine runs but kind is not installed; install kind, or set KUBECONFIG")

    def up(self) -> None:
        self.tools()
        if self._cluster not in run(["kind", "get", "clusters"], check=False).split():
            config = CACHE / "kind.yaml"
            config.write_text(
                "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
                "nodes: [{role: control-plane}, {role: worker}, {role: worker}]\n"
            )
            run(
                [
                    "kind",
                    "create",
                    "cluster",
                    "--name",
                    self._cluster,
                    "--config",
                    config,
                    "--kubeconfig",
                    self.kubeconfig(),
                ]
            )

    def down(self) -> None:
        run(["kind", "delete", "cluster", "--name", self._cluster])

    def status(self) -> str:
        return run(["kind", "get", "nodes", "--name", self._cluster], check=False)

    def kubeconfig(self) -> Path:
        return CACHE / "kind.kubeconfig"

    def kubectl(self) -> Path:
        return _found("kubectl")

    def helm(self) -> Path:
        return _found("helm")

    def load(self, archive: Path) -> None:
        run(["kind", "load", "image-archive", archive, "--name", self._cluster])
