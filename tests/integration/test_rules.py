"""Alert rules against series that are made up: promtool's own tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cluster.layout import TREE
from tests.cluster.tools import debian_packages

HERE = Path(__file__).parent


def test_the_alerts_of_the_standing_mesh_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        debian_packages()
    shutil.copy(TREE / "deploy" / "helm" / "tokenmark" / "rules" / "mesh.yaml", tmp_path)
    shutil.copy(HERE / "mesh_rules.yaml", tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", "mesh_rules.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
