"""kopf at the edge: low-level event handlers, one a kind, that put keys into the queue, and nothing else.

`on.event` leaves no annotation and no finalizer on anything. Handlers are coroutines, so that they run in the loop's own
thread, where queue and memory live.
"""

from __future__ import annotations

from typing import Any

import kopf

from ..plan import names
from .controller import API_VERSION, Controller


def build_registry(controller: Controller) -> kopf.OperatorRegistry:
    """An explicit registry: nothing global, so that tests run side by side."""
    registry = kopf.OperatorRegistry()

    def own(kind: str) -> Any:
        async def seen(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
            plain = {**dict(body), "kind": kind, "apiVersion": API_VERSION}
            controller.object_changed(kind, plain, deleted=type == "DELETED")

        return seen

    def child(kind: str) -> Any:
        async def seen(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
            controller.child_changed({**dict(body), "kind": kind}, deleted=type == "DELETED")

        return seen

    kopf.on.login(id="login", registry=registry)(_login)
    for kind in controller.kinds.values():
        group, version = API_VERSION.split("/")
        kopf.on.event(group, version, kind.plural, id=kind.plural, registry=registry)(own(kind.name))
    ours: Any = {"labels": names.MANAGED, "registry": registry}
    kopf.on.event("batch", "v1", "jobs", id="jobs", **ours)(child("Job"))
    kopf.on.event("", "v1", "pods", id="pods", **ours)(child("Pod"))
    return registry


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account where there is one, else the kubeconfig."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def build_settings() -> kopf.OperatorSettings:
    """Quiet, without writing anything, and with watches that are renewed before they can go stale."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 100
    for children in (("batch", "v1", "jobs"), ("", "v1", "pods")):  # a cluster has others by the thousand
        settings.watching.label_selectors[children] = names.MANAGED_SELECTOR
    settings.queueing.idle_timeout = (
        0.1  # a handler only queues a key: one that idles would keep its object's body in memory
    )
    return settings
