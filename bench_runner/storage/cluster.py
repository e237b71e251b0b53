"""The cluster through kubectl, with the rights of who asks: no client of ours, no credentials of ours."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tokenmark_schemas.errors import InvalidInput, RunFailed

KUBECTL_S = 30


def get(namespace: str, kind: str, name: str) -> dict[str, Any] | None:
    """One object, None where there is none. Raises InvalidInput with kubectl's own words."""
    done = _kubectl(namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
    return json.loads(done) if done.strip() else None


def every(namespace: str | None, kind: str, selector: str = "") -> list[dict[str, Any]]:
    """All of a kind in a namespace, or everywhere."""
    where = ("-l", selector) if selector else ()
    found: list[dict[str, Any]] = json.loads(_kubectl(namespace, "get", kind, *where, "-o", "json"))["items"]
    return found


def put(namespace: str, manifest: dict[str, Any]) -> None:
    """Creates or replaces one object."""
    _kubectl(namespace, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))


def words(*arguments: str) -> str | None:
    """What kubectl prints for whatever arguments; None where it says no, or there is none."""
    try:
        done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, timeout=KUBECTL_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _kubectl(namespace: str | None, *words: str, stdin: str | None = None) -> str:
    where = ("-n", namespace) if namespace else ("--all-namespaces",)
    try:
        done = subprocess.run(
            ["kubectl", *where, *words], input=stdin, capture_output=True, text=True, timeout=KUBECTL_S, check=False
        )
    except FileNotFoundError:
        raise InvalidInput("the cluster is asked through kubectl, which is not installed here") from None
    except subprocess.TimeoutExpired:
        raise RunFailed(f"kubectl did not answer within {KUBECTL_S} s; is the cluster reachable?") from None
    if done.returncode:
        raise InvalidInput(f"kubectl says: {done.stderr.strip()[:400]}")
    return done.stdout
