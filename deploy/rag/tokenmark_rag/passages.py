"""Passages in PostgreSQL with pgvector: cut from texts, kept once for each state of them, found by the nearest vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from .embedding import DIMENSIONS, Embedder

MOST_CHARACTERS = 900
CONNECTIONS = 16
TABLES = f"""
create extension if not exists vector;
create schema if not exists tokenmark_rag;
create table if not exists tokenmark_rag.docsets (name text primary key, digest text not null);
create table if not exists tokenmark_rag.passages (
  id bigserial primary key, docset text not null, source text not null, body text not null, embedding vector({DIMENSIONS}) not null);
create index if not exists passages_embedding on tokenmark_rag.passages using hnsw (embedding vector_cosine_ops);
"""
NEAREST = "select source, body from tokenmark_rag.passages where docset = %s order by embedding <=> %s limit %s"


@dataclass(frozen=True)
class Passage:
    source: str
    body: str


def cut(folder: Path) -> Iterator[Passage]:
    """Paragraphs under their heading, laid together up to a length. Hidden folders are passed by: a mounted ConfigMap has every file
    once more in one."""
    for path in sorted([*folder.rglob("*.md"), *folder.rglob("*.txt")]):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        heading, held = path.stem, ""
        for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
            text = " ".join(block.split())
            if text.startswith("#"):
                if held:
                    yield Passage(path.name, f"{heading}: {held}")
                heading, held = text.lstrip("# "), ""
            elif len(held) + len(text) > MOST_CHARACTERS and held:
                yield Passage(path.name, f"{heading}: {held}")
                held = text[:MOST_CHARACTERS]
            else:
                held = f"{held} {text}".strip()[:MOST_CHARACTERS]
        if held:
            yield Passage(path.name, f"{heading}: {held}")


class Passages:
    """Open it, `fill` it, ask it."""

    def __init__(self, url: str) -> None:
        self._pool = AsyncConnectionPool(url, min_size=1, max_size=CONNECTIONS, open=False, configure=_ready)

    async def open(self) -> None:
        await self._pool.open(wait=True, timeout=60)

    async def close(self) -> None:
        await self._pool.close()

    async def fill(self, docset: str, folder: Path, embedder: Embedder) -> int:
        """How many there are. What is there from the same texts stays."""
        found = list(cut(folder))
        digest = hashlib.sha256("\0".join(p.body for p in found).encode()).hexdigest()
        async with self._pool.connection() as connection, connection.transaction():
            held = await (
                await connection.execute("select digest from tokenmark_rag.docsets where name = %s", [docset])
            ).fetchone()
            if held == (digest,):
                return len(found)
            await connection.execute("delete from tokenmark_rag.passages where docset = %s", [docset])
            vectors = embedder.vectors([p.body for p in found])
            rows = [(docset, p.source, p.body, vector) for p, vector in zip(found, vectors, strict=True)]
            async with connection.cursor() as cursor:
                await cursor.executemany(
                    "insert into tokenmark_rag.passages (docset, source, body, embedding) values (%s, %s, %s, %s)", rows
                )
            await connection.execute(
                "insert into tokenmark_rag.docsets values (%s, %s) on conflict (name) do update set digest = excluded.digest",
                [docset, digest],
            )
        return len(found)

    async def nearest(self, docset: str, vector: Any, k: int) -> list[Passage]:
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(NEAREST, [docset, vector, k])).fetchall()
        return [Passage(*row) for row in rows]


async def _ready(connection: AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)
    await connection.execute("select pg_advisory_lock(7265)")  # several of these may begin at once
    try:
        await connection.execute(TABLES)
    finally:
        await connection.execute("select pg_advisory_unlock(7265)")
    await connection.execute("set hnsw.ef_search = 100")
    await register_vector_async(connection)
