"""Certificates and kubeconfigs of the embedded cluster, made with openssl."""

from __future__ import annotations

import json
from pathlib import Path

from .layout import PKI, STATE
from .shell import run

HOST = "198.18.0.1"
SERVICE_IP = "198.19.0.1"


def make(nodes: list[tuple[str, str]]) -> None:
    """All keys and certificates that are missing; `nodes` are (name, address)."""
    PKI.mkdir(parents=True, exist_ok=True)
    if not (PKI / "ca.crt").exists():
        _openssl("genrsa", "-out", "ca.key", "2048")
        _openssl(
            "req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=tokenmark-ca", "-days", "365", "-out", "ca.crt",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        _openssl("genrsa", "-out", "sa.key", "2048")
        _openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
    names = "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost"
    _certificate("apiserver", "/CN=kube-apiserver", f"IP:127.0.0.1,IP:{HOST},IP:{SERVICE_IP},{names}")
    for name, subject in (
        ("admin", "/O=system:masters/CN=admin"),
        ("controller-manager", "/CN=system:kube-controller-manager"),
        ("scheduler", "/CN=system:kube-scheduler"),
        ("proxy", "/CN=system:kube-proxy"),
        ("kubelet-client", "/O=system:masters/CN=apiserver-kubelet"),
    ):
        _certificate(name, subject)
    for name, address in nodes:
        _certificate(name, f"/O=system:nodes/CN=system:node:{name}", f"DNS:{name},IP:{address}")


def kubeconfig(user: str) -> Path:
    """The kubeconfig of one user, self-contained."""
    path = STATE / f"{user}.kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "tokenmark",
                "cluster": {"server": f"https://{HOST}:6443", "certificate-authority": str(PKI / "ca.crt")},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate": str(PKI / f"{user}.crt"), "client-key": str(PKI / f"{user}.key")},
            }
        ],
        "contexts": [{"name": "tokenmark", "context": {"cluster": "tokenmark", "user": user}}],
        "current-context": "tokenmark",
    }
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def _openssl(*arguments: str) -> None:
    run(["openssl", *arguments], cwd=PKI)


def _certificate(name: str, subject: str, alternatives: str | None = None) -> None:
    if (PKI / f"{name}.crt").exists():
        return
    extensions = (
        "keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    (PKI / f"{name}.ext").write_text(extensions + (f"subjectAltName={alternatives}\n" if alternatives else ""))
    _openssl("genrsa", "-out", f"{name}.key", "2048")
    _openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    _openssl(
        "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "365",
        "-out", f"{name}.crt", "-extfile", f"{name}.ext",
    )  # fmt: skip
