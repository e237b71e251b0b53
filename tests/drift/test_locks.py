"""Development, CI and images install one resolution; it is the one that pyproject.toml asks for."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from tests.drift.locks import LOCKS, MARK, WANTED, digest, pinned, requirements


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_answers_what_pyproject_asks_for(lock: str) -> None:
    first = (LOCKS / f"{lock}.lock").read_text().splitlines()[0]
    assert first == MARK + digest(lock), f"{lock}.lock is stale, run: make lock"
    found = pinned(lock)
    for wanted in map(Requirement, requirements(lock)):
        versions = found[wanted.name.lower().replace("_", "-")]
        assert all(wanted.specifier.contains(version) for version in versions), (wanted, versions)


@pytest.mark.parametrize("lock", ["build", "operator", "runner"])
def test_images_install_what_was_developed_with(lock: str) -> None:
    developed = pinned("dev")
    assert {name: versions for name, versions in pinned(lock).items() if developed.get(name) != versions} == {}


@pytest.mark.parametrize("lock", WANTED)
def test_every_package_has_its_hashes_and_no_lock_names_a_host(lock: str) -> None:
    text = (LOCKS / f"{lock}.lock").read_text()
    assert text.count("==")
    assert "://" not in text
    for block in text.replace("\\\n", " ").splitlines():
        assert block.startswith("#") or "--hash=sha256:" in block, block
