"""A file that a person named: written with the folders above it, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

from tokenmark_schemas.errors import InvalidInput


def write_text(path: Path, text: str, said: str) -> None:
    """`said` is what the person wrote, as `--out DIR`. Raises InvalidInput with it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InvalidInput(f"{said}: {exc.strerror}") from exc
