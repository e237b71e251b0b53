"""A run tells what the network costs it from what the engine does: one trial of some causes; `python -m tests.accuracy.attribution`
makes a hundred, and docs/netprobe.md holds what it printed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.accuracy.attribution import CAUSES, Trial, trial
from tests.rig import rig

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root")
TRIED = ("5 ms of delay", "50 Mbit/s", "engine: 5 ms more")


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rig.build(tmp_path_factory.mktemp("rig")) / "wire"


@pytest.mark.parametrize("name", TRIED)
def test_the_network_is_given_what_is_its_own(name: str, wire: Path, tmp_path: Path) -> None:
    cause = next(cause for cause in CAUSES if cause.name == name)
    found: list[Trial] = []
    for seed in (1, 2):  # one of twenty may be wrong
        (tmp_path / str(seed)).mkdir()
        found.append(trial(cause, wire, tmp_path / str(seed), seed))
        if found[-1].right:
            break
    assert found[-1].right, found
    assert found[-1].tpot == 0.0
