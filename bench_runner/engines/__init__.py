"""ENGINES: the dialects that work. A row here, a page in the docs and the contract suite make an engine."""

from __future__ import annotations

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.rag import Retrieval

from .base import Dialect
from .llamacpp import LLAMACPP, LLAMACPP_COMPLETION
from .mapped import mapped
from .ollama import OLLAMA, OLLAMA_GENERATE
from .openai import COMPLETION, OPENAI
from .rag import RAG
from .rag import dialect as rag
from .tgi import TGI, TGI_OPENAI
from .vllm import SGLANG, SGLANG_COMPLETION, VLLM, VLLM_COMPLETION

# the first route of an engine is its default; an address that ends in another's path picks that one
ENGINES: dict[str, tuple[Dialect, ...]] = {
    "openai": (OPENAI,),
    "openai-completions": (COMPLETION,),
    "vllm": (VLLM, VLLM_COMPLETION),
    "sglang": (SGLANG, SGLANG_COMPLETION),
    "tgi": (TGI, TGI_OPENAI),
    "ollama": (OLLAMA, OLLAMA_GENERATE),
    "llamacpp": (LLAMACPP, LLAMACPP_COMPLETION),
    "rag": (RAG,),
}


def dialect_of(engine: str, url_path: str = "", retrieval: Retrieval | None = None) -> tuple[Dialect, str]:
    """The route an address means, and the path before it. Raises InvalidInput when this version lacks the engine."""
    if engine == "rag" and retrieval is not None:
        found = _of(retrieval)
        return found, url_path.rstrip("/").removesuffix(found.path)
    if engine not in ENGINES:
        raise InvalidInput(f"engine {engine} is not supported by this version yet; supported: {', '.join(ENGINES)}")
    path = url_path.rstrip("/")
    for dialect in ENGINES[engine]:
        if path.endswith(dialect.path):
            return dialect, path.removesuffix(dialect.path)
    return ENGINES[engine][0], path.removesuffix("/v1")


def _of(retrieval: Retrieval) -> Dialect:
    if retrieval.mapping is not None:
        return mapped(retrieval.mapping, retrieval.k, retrieval.docset)
    return rag(retrieval.k, retrieval.docset)
