"""What the watches ask the API server for."""

from __future__ import annotations

import pytest
from kopf._cogs.structs.references import Resource

from tokenmark_operator.core.watch import build_settings


@pytest.mark.parametrize(
    ("resource", "selector"),
    [
        (Resource("", "v1", "pods"), ["app.kubernetes.io/managed-by=tokenmark"]),
        (Resource("batch", "v1", "jobs"), ["app.kubernetes.io/managed-by=tokenmark"]),
        (Resource("tokenmark.dev", "v1alpha1", "benchmarkruns"), []),
    ],
)
def test_of_pods_and_jobs_the_server_sends_ours_alone(resource: Resource, selector: list[str]) -> None:
    assert build_settings().watching.label_selectors.collect(resource) == selector
