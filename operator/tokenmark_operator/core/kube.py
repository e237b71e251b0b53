"""The only door to the Kubernetes API: plain dicts in and out, content type explicit, status of every answer checked.

Built on the official client's asyncio half for configuration, TLS and tokens; its typed models are not used (they cost
memory and refuse enums they do not know), and log bytes are decoded here, because its own decoding raises on noise.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client, config

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
TIMEOUT_S = 30
PAGE = 100
SILENCE_S = 60  # a log that says nothing for so long is asked for again: the line may be dead without anybody saying so


class ClusterUnavailable(Exception):
    """The API server cannot be reached, or answers with 5xx or 429: try again."""


class ApiError(Exception):
    """An answer that retrying does not change. `status` is the HTTP code, `reason` Kubernetes' own word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(frozen=True)
class Resource:
    """Where objects of a kind live."""

    api_version: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
        """The URL path of a collection or an object."""
        base = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        parts = [base, *(("namespaces", namespace) if namespace else ()), self.plural, name, sub]
        return "/".join(part for part in parts if part)


RUNS = Resource("tokenmark.dev/v1alpha1", "benchmarkruns")
PROBES = Resource("tokenmark.dev/v1alpha1", "netprobes")
SCHEDULES = Resource("tokenmark.dev/v1alpha1", "benchmarkschedules")
SWEEPS = Resource("tokenmark.dev/v1alpha1", "benchmarksweeps")
MATRICES = Resource("tokenmark.dev/v1alpha1", "benchmarkmatrices")
JOBS = Resource("batch/v1", "jobs")
PODS = Resource("v1", "pods")
CONFIG_MAPS = Resource("v1", "configmaps")
SERVICES = Resource("v1", "services")
NODES = Resource("v1", "nodes")
EVENTS = Resource("v1", "events")
TOKEN_REVIEWS = Resource("authentication.k8s.io/v1", "tokenreviews")
ACCESS_REVIEWS = Resource("authorization.k8s.io/v1", "subjectaccessreviews")
NETWORK_POLICIES = Resource("networking.k8s.io/v1", "networkpolicies")
BY_KIND = {
    "NetworkPolicy": NETWORK_POLICIES,
    "Job": JOBS,
    "ConfigMap": CONFIG_MAPS,
    "Service": SERVICES,
    "NetProbe": PROBES,
    "BenchmarkRun": RUNS,
}


class Kube:
    """A connection pool for calls, and one for logs that are followed: two hundred of those must keep no call waiting. Methods
    raise ApiError and ClusterUnavailable, nothing else."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self._api: client.ApiClient | None = None
        self._streams: client.ApiClient | None = None

    async def open(self) -> None:
        """In-cluster configuration where there is one, else the kubeconfig."""
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config()  # type: ignore[no-untyped-call]
        self._api = client.ApiClient()
        unbounded = client.Configuration.get_default_copy()
        unbounded.connection_pool_maxsize = 0
        self._streams = client.ApiClient(unbounded)

    async def close(self) -> None:
        for opened in filter(None, (self._api, self._streams)):
            await opened.close()  # type: ignore[no-untyped-call]

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """None when it does not exist."""
        try:
            return await self._json("GET", resource.path(namespace, name))
        except ApiError as exc:
            if exc.status == 404:
                return None
            raise

    async def list(self, resource: Resource, namespace: str | None, selector: str = "") -> list[Object]:
        """A quorum read: what the server knows now, not what a cache remembers."""
        return [item async for item in self.each(resource, namespace, selector)]

    async def each(self, resource: Resource, namespace: str | None, selector: str = "") -> AsyncIterator[Object]:
        """The same, page by page: memory for one page at a time."""
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            answer = await self._json("GET", resource.path(namespace), query)
            for item in answer.get("items", []):
                yield item
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        return await self._json("POST", resource.path(namespace), body=body)

    async def patch(
        self, resource: Resource, namespace: str, name: str, body: Object, sub: str | None = None
    ) -> Object:
        """A merge patch; with `metadata.resourceVersion` in the body it fails on a lost race."""
        return await self._json("PATCH", resource.path(namespace, name, sub), body=body, content_type=MERGE)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """That very object, and no namesake that took its place; children follow in the background. What is gone is fine."""
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._json("DELETE", resource.path(namespace, name), body=options)
        except ApiError as exc:
            if exc.status not in (404, 409):
                raise

    async def events_of(self, namespace: str, uid: str, reason: str) -> Sequence[Object]:
        """Events about one object with that reason."""
        query = {"fieldSelector": f"involvedObject.uid={uid},reason={reason}", "limit": "20"}
        answer = await self._json("GET", EVENTS.path(namespace), query)
        return answer.get("items") or ()

    async def follow_log(
        self, namespace: str, pod: str, container: str, since: str = ""
    ) -> AsyncIterator[tuple[str, str]]:
        """(time, line) of a container's log, from its start or that time on (to the second), until the container ends or the
        stream does. Undecodable bytes are replaced."""
        query = {
            "container": container,
            "follow": "true",
            "timestamps": "true",
            **({"sinceTime": since} if since else {}),
        }
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_S)
        response = await self._send("GET", PODS.path(namespace, pod, "log"), query, limit=limit, api=self._streams)
        try:
            await self._check(response)
            rest = b""
            async for part in response.content.iter_any():
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield _timed(line)
                if len(rest) > 2**20:
                    rest = b""
            if rest:
                yield _timed(rest)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise ClusterUnavailable(f"the log of {namespace}/{pod} broke off: {exc}") from exc
        finally:
            response.close()

    # --- one request ------------------------------------------------------------------------------------------------

    async def _json(
        self, method: str, path: str, query: dict[str, str] | None = None, *, body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:  # fmt: skip
        response = await self._send(method, path, query or {}, body, content_type)
        try:
            text = await self._check(response)
        finally:
            response.close()
        try:
            answer = json.loads(text)
        except ValueError as exc:
            raise ClusterUnavailable(f"{method} {path}: the answer is not JSON") from exc
        return answer if isinstance(answer, dict) else {}

    async def _send(
        self, method: str, path: str, query: dict[str, str], body: Object | None = None,
        content_type: str = "application/json", limit: aiohttp.ClientTimeout | float = TIMEOUT_S,
        api: client.ApiClient | None = None,
    ) -> aiohttp.ClientResponse:  # fmt: skip
        api = api or self._api
        assert api is not None, "open() comes first"
        headers = {"Content-Type": content_type, "Accept": "application/json, */*"}
        _, url, headers, payload, _ = await api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await api.call_api(method, url, headers, payload, _request_timeout=limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            self.requests[method, "unreachable"] += 1
            raise ClusterUnavailable(f"{method} {path}: {exc or type(exc).__name__}") from exc
        response: aiohttp.ClientResponse = answer.response
        self.requests[method, str(response.status)] += 1
        return response

    @staticmethod
    async def _check(response: aiohttp.ClientResponse) -> str:
        if response.status < 300 and response.url.path.endswith("/log"):
            return ""
        try:
            text = (await response.read()).decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise ClusterUnavailable(str(exc)) from exc
        if response.status < 300:
            return text
        try:
            status = json.loads(text)
        except ValueError:
            status = {}
        message, reason = status.get("message") or text[:300], status.get("reason") or ""
        if response.status == 429 or response.status >= 500:
            raise ClusterUnavailable(f"HTTP {response.status}: {message}")
        raise ApiError(response.status, reason, message)


def _timed(line: bytes) -> tuple[str, str]:
    """A log line's time and its text; no time where the line is none of the container's, as with a kubelet's complaint."""
    time, space, text = line.decode("utf-8", "replace").partition(" ")
    return (time, text) if space and time[:2] == "20" and "T" in time else ("", line.decode("utf-8", "replace"))
