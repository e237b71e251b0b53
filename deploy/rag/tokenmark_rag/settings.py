"""What the environment says; every name begins with RAG_."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


class BadSettings(Exception):
    """What is wrong, in a sentence."""


@dataclass(frozen=True)
class Settings:
    """`database` is a PostgreSQL URL with pgvector; without one a server of its own is started in `data`."""

    engine_url: str
    model: str
    docset: str
    documents: Path
    data: Path
    database: str | None
    host: str
    port: int
    engine_timeout_s: float

    @classmethod
    def of_environment(cls) -> Settings:
        """Raises BadSettings."""
        said = {name: os.environ.get(f"RAG_{name}", default) for name, default in DEFAULTS.items()}
        if not said["ENGINE_URL"].startswith(("http://", "https://")):
            raise BadSettings(
                "RAG_ENGINE_URL is missing: the address of an OpenAI-compatible engine, such as http://llama:8080"
            )
        if not Path(said["DOCUMENTS"]).is_dir():
            raise BadSettings(f"RAG_DOCUMENTS {said['DOCUMENTS']} is no folder of texts")
        if said["DATABASE_URL"] and not said["DATABASE_URL"].startswith(("postgresql://", "postgres://")):
            raise BadSettings(
                "RAG_DATABASE_URL is no PostgreSQL address: postgresql://USER@HOST/DATABASE"
            )  # it may hold a password
        if not said["PORT"].isdigit() or not said["ENGINE_TIMEOUT_S"].isdigit():
            raise BadSettings("RAG_PORT and RAG_ENGINE_TIMEOUT_S are whole numbers")
        return cls(
            engine_url=said["ENGINE_URL"].rstrip("/"), model=said["MODEL"], docset=said["DOCSET"], documents=Path(said["DOCUMENTS"]),
            data=Path(said["DATA"]), database=said["DATABASE_URL"] or None, host=said["HOST"], port=int(said["PORT"]),
            engine_timeout_s=float(said["ENGINE_TIMEOUT_S"]),
        )  # fmt: skip


DEFAULTS = {
    "ENGINE_URL": "", "MODEL": "default", "DOCSET": "handbook", "DOCUMENTS": "/documents", "DATA": "/data", "DATABASE_URL": "",
    "HOST": "0.0.0.0",  # noqa: S104  in a pod there is no other way to be reached
    "PORT": "8000", "ENGINE_TIMEOUT_S": "120",
}  # fmt: skip
