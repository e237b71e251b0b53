"""A BenchmarkRun on disk, for runs by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def manifest(folder: Path, spec: dict[str, Any], name: str = "t") -> Path:
    """The file of a run with that spec."""
    path = folder / f"{name}.yaml"
    document = {
        "apiVersion": "tokenmark.dev/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {"name": name},
        "spec": spec,
    }
    path.write_text(yaml.safe_dump(document))
    return path
