"""The one door to the embedding model: wordllama, whose weights lie in its wheel (256 dimensions, a tenth of a millisecond a text)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DIMENSIONS = 256


class Embedder:
    def __init__(self) -> None:
        import wordllama

        folder = Path(
            wordllama.__file__
        ).parent  # else it looks for its tokenizer in a home folder, and then on the network
        self._model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True, dim=DIMENSIONS)

    def vectors(self, texts: list[str]) -> Any:
        """A row a text, of unit length: an array of float32."""
        return self._model.embed(texts, norm=True)
