"""etcd, API server, controller manager, scheduler and CoreDNS, on the host."""

from __future__ import annotations

import shutil

from . import network, pki, processes
from .layout import PKI, STATE
from .shell import run, wait_for
from .tools import program

ETCD_CLIENT = "http://127.0.0.1:23790"
ETCD_PEER = "http://127.0.0.1:23800"
NODE_GRACE_S = 16
COREFILE = """.:53 {{
    bind {host}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig} tokenmark
    }}
    cache 5
}}
"""


def etcd() -> None:
    processes.start("etcd", [
        program("etcd"), "--data-dir", STATE / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
        "--listen-client-urls", ETCD_CLIENT, "--advertise-client-urls", ETCD_CLIENT,
        "--listen-peer-urls", ETCD_PEER, "--initial-advertise-peer-urls", ETCD_PEER,
        "--initial-cluster", f"default={ETCD_PEER}",
    ])  # fmt: skip


def apiserver() -> None:
    """Alone, because tests stop and start it."""
    processes.start("apiserver", [
        program("kube-apiserver"), f"--etcd-servers={ETCD_CLIENT}", "--bind-address=0.0.0.0",
        f"--advertise-address={pki.HOST}", "--secure-port=6443", f"--service-cluster-ip-range={network.SERVICES}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
        f"--client-ca-file={PKI}/ca.crt", f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key", "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={PKI}/kubelet-client.crt", f"--kubelet-client-key={PKI}/kubelet-client.key",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={PKI}/sa.pub",
        f"--service-account-signing-key-file={PKI}/sa.key", "--event-ttl=1h",
    ])  # fmt: skip


def ready() -> bool:
    """The API server says so itself."""
    return (
        run(
            [program("kubectl"), "--kubeconfig", STATE / "admin.kubeconfig", "get", "--raw", "/readyz"], check=False
        ).strip()
        == "ok"
    )


def up() -> None:
    for user in ("admin", "controller-manager", "scheduler", "proxy"):
        pki.kubeconfig(user)
    etcd()
    apiserver()
    wait_for("the API server is ready", ready, 90, f"see {STATE}/log/apiserver.log")
    config = STATE / "controller-manager.kubeconfig"
    processes.start("controller-manager", [
        program("kube-controller-manager"), f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}", f"--root-ca-file={PKI}/ca.crt",
        f"--service-account-private-key-file={PKI}/sa.key", f"--cluster-signing-cert-file={PKI}/ca.crt",
        f"--cluster-signing-key-file={PKI}/ca.key", "--use-service-account-credentials", "--leader-elect=false",
        f"--cluster-cidr={network.PODS}", "--allocate-node-cidrs=false",
        f"--node-monitor-grace-period={NODE_GRACE_S}s",
    ])  # fmt: skip
    config = STATE / "scheduler.kubeconfig"
    processes.start("scheduler", [
        program("kube-scheduler"), f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}", "--leader-elect=false",
    ])  # fmt: skip
    corefile = STATE / "Corefile"
    corefile.write_text(COREFILE.format(host=pki.HOST, kubeconfig=STATE / "admin.kubeconfig"))
    processes.start("coredns", [program("coredns"), "-conf", corefile])


def down() -> None:
    processes.stop("coredns", "scheduler", "controller-manager")
    processes.stop("apiserver")
    processes.stop("etcd")
    shutil.rmtree(STATE / "etcd", ignore_errors=True)
