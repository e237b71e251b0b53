"""A file that a person named: written with the folders above it, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput


def write_text(path: Path, text: str, said: str) -> None:
    """`said` is what the person wrote, as `--out DIR`. Raises InvalidInput with it."""
    write_pieces(path, [text], said)


def write_bytes(path: Path, content: bytes, said: str) -> None:
    with _refused(said):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_pieces(path: Path, pieces: Iterable[str], said: str) -> None:
    """Text, piece by piece."""
    with _refused(said):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)


@contextmanager
def _refused(said: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise InvalidInput(f"{said}: {exc.strerror}") from exc
