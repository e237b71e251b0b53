"""What a model needs of this machine's memory in llama-server, before it is started.

Weights and KV cache follow from the file; buffers of the computation and the program itself were measured, on processors. Sources: llama.cpp's
own account at its end ("memory breakdown"), and the process's resident memory beside it; docs/local.md has what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput

from .gguf_file import ModelFile

PAD = 256  # cells of a cache come in so many
F16 = 2
SWA_EVERY = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "cohere2": 4,
    "gpt-oss": 2,
}  # where the file leaves it to llama.cpp
REPACKED = frozenset({"Q4_0", "Q4_K", "IQ4_NL"})  # types that x86 keeps a second time, in an order of its own
PROGRAM_BYTES, TOKEN_BYTES = 39_000_000, 100  # libraries and heap; of each entry of the vocabulary
FEED_FORWARDS, EMBEDDINGS = 3, 5  # of a token on its way through a layer, as four-byte numbers


@dataclass(frozen=True)
class Need:
    """Bytes. `weights` lie in the file's own pages, which the system may take back and read again; the rest it may not."""

    weights: int
    repacked: int
    cache: int
    compute: int
    program: int

    @property
    def total(self) -> int:
        return self.weights + self.repacked + self.cache + self.compute + self.program


def need(model: ModelFile, context: int, parallel: int = 1, batch: int = 512, cache_bytes: int = F16) -> Need:
    """`context` is of all `parallel` places together, as `llama-server -c` takes it; `batch` is its `--ubatch-size`."""
    cells, windowed = _cells(model, context, parallel, batch)
    of_cell = (model.key_length + model.value_length) * cache_bytes
    every = _every(model)
    cache = sum(
        heads * of_cell * (cells if every is None or (layer + 1) % every == 0 else windowed)
        for layer, heads in enumerate(model.heads_kv)
    )
    masks = (cells + (windowed if every is not None else 0)) * batch * F16
    activations = 4 * batch * (FEED_FORWARDS * model.feed_forward + EMBEDDINGS * model.embedding)
    return Need(
        weights=model.size_bytes,
        repacked=sum(size for kind, size in model.weights.items() if kind in REPACKED),
        cache=cache,
        compute=masks + activations + 4 * parallel * model.vocabulary,
        program=PROGRAM_BYTES + TOKEN_BYTES * model.vocabulary,
    )


def must_fit(model: ModelFile, context: int, parallel: int = 1) -> None:
    """Raises InvalidInput where this machine has not so much memory free now."""
    needed, free = need(model, context, parallel).total, free_bytes()
    if needed > free:
        raise InvalidInput(
            f"{model.path.name} needs about {needed / 1e9:.1f} GB for {context} tokens of {parallel} streams together, and {free / 1e9:.1f} GB "
            "are free: fewer streams, a shorter context or a smaller quantisation need less"
        )


def free_bytes() -> int:
    """What Linux would give without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise InvalidInput("/proc/meminfo does not tell what memory is free; models are served on Linux alone")


def _every(model: ModelFile) -> int | None:
    """Each so-many-th layer sees the whole context; None: all do, or it is not known which."""
    return (model.window_every or SWA_EVERY.get(model.architecture)) if model.window else None


def _cells(model: ModelFile, context: int, parallel: int, batch: int) -> tuple[int, int]:
    """Of a layer that sees all, and of one with a window."""
    whole = parallel * _padded(context // parallel)
    window = parallel * min(_padded(context // parallel), _padded((model.window or 0) + batch))
    return whole, window


def _padded(cells: int) -> int:
    return -(-cells // PAD) * PAD
