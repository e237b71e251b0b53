"""A node: a network namespace with its own containerd, kubelet and kube-proxy."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from . import network, pki, processes
from .layout import PKI, STATE
from .shell import run, wait_for
from .tools import program

CGROUPS = Path("/sys/fs/cgroup")
DEVICE_PLUGINS = "/var/lib/kubelet/device-plugins/kubelet.sock"
CONTAINERD = """version = 2
root = "{node}/containerd"
state = "{node}/run/containerd"
[grpc]
  address = "{node}/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/tokenmark/pause:1"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{node}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def name_of(index: int) -> str:
    return f"node{index}"


def folder(name: str) -> Path:
    return STATE / name


def socket_of(name: str) -> Path:
    return folder(name) / "run" / "containerd.sock"


def up(index: int) -> None:
    """Files, cgroups, then the three programs."""
    name = name_of(index)
    node = folder(name)
    for part in ("cni", "kubelet", "run", "podlogs"):
        (node / part).mkdir(parents=True, exist_ok=True)
    (STATE / "resolv.conf").write_text(f"nameserver {pki.HOST}\n")
    (node / "containerd.toml").write_text(CONTAINERD.format(node=node))
    (node / "cni" / "10-tokenmark.conflist").write_text(json.dumps(_cni(index, node)))
    (node / "kubelet.json").write_text(json.dumps(_kubelet(name, node)))
    pki.kubeconfig(name)
    _make_cgroups(name)
    containerd(name)
    kubelet(index)
    proxy(name)


def containerd(name: str) -> None:
    processes.start(f"{name}-containerd", ["containerd", "-c", folder(name) / "containerd.toml"], netns=name)
    wait_for(f"containerd of {name} answers", lambda: _ctr_answers(name), 30, f"see {STATE}/log/{name}-containerd.log")


def _ctr_answers(name: str) -> bool:
    return "Server" in run(["ctr", "-a", socket_of(name), "version"], check=False)


def kubelet(index: int) -> None:
    """Alone, because tests kill and restart it. All kubelets of a machine have one and the same socket for device plugins:
    two that start in the same instant take it from each other, and one of them ends. So each has it before the next begins."""
    wait_for(
        f"kubelet of {name_of(index)} listens",
        lambda: _listens(index),
        60,
        f"see {STATE}/log/{name_of(index)}-kubelet.log",
    )


def _listens(index: int) -> bool:
    """Whether it has the socket; started where it does not run."""
    name = name_of(index)
    _start_kubelet(index)
    sockets = Path(f"/proc/{processes.pid_of(name + '-kubelet')}/net/unix")  # those of its own network namespace
    return sockets.exists() and DEVICE_PLUGINS in sockets.read_text()


def _start_kubelet(index: int) -> None:
    name = name_of(index)
    labels = {
        "topology.kubernetes.io/region": "lab", "topology.kubernetes.io/zone": f"zone-{index}",
        "node.kubernetes.io/instance-type": "lab.small",
    }  # fmt: skip
    processes.start(f"{name}-kubelet", [
        program("kubelet"), f"--config={folder(name)}/kubelet.json", f"--kubeconfig={STATE}/{name}.kubeconfig",
        f"--root-dir={folder(name)}/kubelet", f"--hostname-override={name}", f"--node-ip={network.node_address(index)}",
        "--node-labels=" + ",".join(f"{k}={v}" for k, v in labels.items()), "--v=1",
    ], netns=name)  # fmt: skip


def proxy(name: str) -> None:
    processes.start(f"{name}-proxy", [
        program("kube-proxy"), f"--kubeconfig={STATE}/proxy.kubeconfig", f"--hostname-override={name}",
        f"--cluster-cidr={network.PODS}", "--proxy-mode=iptables", "--conntrack-max-per-core=0",
        "--healthz-bind-address=127.0.0.1:10256", "--v=1",
    ], netns=name)  # fmt: skip


def _cni(index: int, node: Path) -> dict[str, object]:
    bridge = {
        "type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": network.pod_subnet(index)}]], "dataDir": str(node / "ipam"),
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }  # fmt: skip
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "tokenmark", "plugins": [bridge, portmap]}


def _kubelet(name: str, node: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/{name}.crt",
        "tlsPrivateKeyFile": f"{PKI}/{name}.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/tm/{name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [pki.HOST],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{STATE}/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{socket_of(name)}",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "nodeStatusUpdateFrequency": "4s",
        "housekeepingInterval": "10s",
        "oomScoreAdj": 0,
        "podLogsDir": str(node / "podlogs"),
    }  # fmt: skip


def _controllers() -> list[Path]:
    """The cgroup hierarchies: one a controller under v1, a single one under v2."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_cgroups(name: str) -> None:
    for root in _controllers():
        parts = (root / "tm", root / "tm" / name)
        for part in parts:
            part.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if root.name == "cpuset":
                    (part / file).write_text((root / file).read_text())
        if root == CGROUPS:
            enabled = " ".join("+" + c for c in (root / "cgroup.controllers").read_text().split())
            for part in (root, root / "tm"):
                (part / "cgroup.subtree_control").write_text(enabled)


def load(name: str, archive: Path) -> None:
    """Imports an image, unless the node has that very archive already."""
    mark = folder(name) / f"loaded-{archive.stem}"
    stamp = str(archive.stat().st_mtime_ns)
    if mark.exists() and mark.read_text() == stamp:
        return
    run(["ctr", "-a", socket_of(name), "-n", "k8s.io", "images", "import", "--no-unpack", archive], timeout_s=300)
    mark.write_text(stamp)


def down(names: list[str]) -> None:
    """Programs, shims, namespaces, mounts, cgroups, files. Also right when all programs were killed before."""
    namespaces = pod_namespaces()
    processes.stop(*[f"{name}-{part}" for name in names for part in ("kubelet", "proxy")])
    for name in names:
        processes.kill_by_argument(str(socket_of(name)))
    processes.stop(*[f"{name}-containerd" for name in names])
    _kill_in_cgroups()
    for namespace in namespaces:
        run(["ip", "netns", "del", namespace.name], check=False)
    _unmount()
    _remove_cgroups()


def leave(name: str) -> None:
    """One node goes, the others stay."""
    namespaces = pod_namespaces(name)
    processes.stop(f"{name}-kubelet", f"{name}-proxy")
    processes.kill_by_argument(str(socket_of(name)))
    processes.stop(f"{name}-containerd")
    _kill_in_cgroups(name)
    for namespace in namespaces:
        run(["ip", "netns", "del", namespace.name], check=False)
    _unmount(name)
    _remove_cgroups(name)
    for _ in range(3):
        shutil.rmtree(folder(name), ignore_errors=True)


def pod_namespaces(node: str = "*") -> list[Path]:
    """The network namespaces that CNI made for our pods, by the word of their sandboxes: others on this machine, of whoever
    else runs containers here, have names of the same kind."""
    found = set()
    for bundle in STATE.glob(f"{node}/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json"):
        try:
            parts = json.loads(bundle.read_text())["linux"]["namespaces"]
        except (OSError, ValueError, KeyError):
            continue
        paths = [Path(part["path"]) for part in parts if part["type"] == "network" and part.get("path")]
        found |= {Path("/run/netns") / path.name for path in paths if path.parent.name == "netns"}
    return sorted(path for path in found if path.exists())


def _mounts(node: str = "") -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    points = [line.split()[1].replace("\\040", " ") for line in lines]
    return sorted(
        (p for p in points if p.startswith(f"{folder(node)}/" if node else f"{STATE}/")), key=len, reverse=True
    )


def _unmount(node: str = "") -> None:
    for point in _mounts(node):
        run(["umount", "-l", point], check=False)


def _kill_in_cgroups(node: str = "") -> None:
    """Container processes whose shim is gone."""
    for root in _controllers():
        top = root / "tm" / node
        for file in top.rglob("cgroup.procs") if top.is_dir() else ():
            for pid in file.read_text().split():
                try:
                    os.kill(int(pid), 9)
                except ProcessLookupError:
                    continue


def _remove_cgroups(node: str = "") -> None:
    for root in _controllers():
        top = root / "tm" / node
        if not top.is_dir():
            continue
        for path in sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            _remove(path)
        _remove(top)


def _remove(path: Path) -> None:
    for _ in range(50):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            run(["sleep", "0.05"])
        else:
            return


def leftovers() -> list[str]:
    found = [f"mount {point}" for point in _mounts()] + [f"namespace {path.name}" for path in pod_namespaces()]
    return found + [f"cgroup {root}/tm" for root in _controllers() if (root / "tm").exists()]
