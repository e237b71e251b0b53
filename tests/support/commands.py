"""The command line within a test's own process."""

from __future__ import annotations

import pytest

from bench_runner import cli


def tokenmark(*words: str) -> int:
    """Its exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    return int(ended.value.code or 0)
