"""The cluster, the images and the chart, once; a namespace enforcing `restricted` for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.cluster import images as image_builds
from tests.cluster import layout, provider, release
from tests.cluster.provider import Cluster
from tests.support.lab import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes the cluster down comes last, whatever its file is called."""
    items.sort(key=lambda item: item.path.name == "test_teardown.py")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    layout.make()
    chosen = provider.choose()
    chosen.up()
    return chosen


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> dict[str, str]:
    return image_builds.build_and_load(cluster)


@pytest.fixture(scope="session")
def installed(cluster: Cluster, images: dict[str, str]) -> Cluster:
    """The chart is in, the operator ready."""
    release.install(cluster, images, *release.settings(cluster))
    return cluster


@pytest.fixture
def lab(installed: Cluster, images: dict[str, str]) -> Iterator[Lab]:
    """A fresh namespace; gone after the test."""
    yield from _namespace(installed, images)


@pytest.fixture(scope="session")
def shared_lab(installed: Cluster, images: dict[str, str]) -> Iterator[Lab]:
    """One namespace for tests that only ask the API server."""
    yield from _namespace(installed, images)


def _namespace(cluster: Cluster, images: dict[str, str]) -> Iterator[Lab]:
    lab = Lab(cluster, images, f"t-{uuid.uuid4().hex[:8]}")
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": lab.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    lab.apply(namespace)
    yield lab
    lab.try_kubectl("delete", "ns", lab.namespace, "--wait=false")  # the cluster may be gone by now
