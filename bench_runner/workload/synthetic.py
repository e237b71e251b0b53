"""Made-up text of given lengths, without a tokenizer: cut from one seeded run of common words that nearly all
vocabularies hold as a single token, so that lengths are right to a few percent; the server's own count is what gets
reported.
"""

from __future__ import annotations

import random

from tokenmark_schemas.workload import Spread

from .vocabulary import WORDS

SALT_TOKENS = 8
CYCLE = 4096


class Lengths:
    """Seeded whole numbers such as lengths in tokens, the same sequence for the same seed; repeats after 4096."""

    def __init__(self, lengths: Spread, seed: int) -> None:
        rng = random.Random(f"lengths:{seed}")
        low, high = lengths.min or 1, lengths.max or 10**7
        spread = lengths.stddev or 0
        self._values = [
            min(high, max(low, round(rng.gauss(lengths.mean, spread)) if spread else lengths.mean))
            for _ in range(CYCLE if spread else 1)
        ]

    def __getitem__(self, seq: int) -> int:
        return self._values[seq % len(self._values)]


class SyntheticText:
    """Prompts of given lengths: slices of one seeded text, at a cost of a memory copy each."""

    def __init__(self, seed: int, longest: int, shared_prefix_tokens: int = 0) -> None:
        rng = random.Random(f"text:{seed}")
        words = rng.choices(WORDS, k=longest + 2 * CYCLE)
        self._text = " ".join(words)
        self._starts = [0]
        for word in words:
            self._starts.append(self._starts[-1] + len(word) + 1)
        self._prefix = " ".join(rng.choices(WORDS, k=shared_prefix_tokens))
        self._prefix_tokens = shared_prefix_tokens

    def prompt(self, seq: int, tokens: int, salt: str) -> str:
        """The text of the seq-th prompt: shared prefix, salt, words."""
        words = self.words(seq, tokens - self._prefix_tokens - SALT_TOKENS)
        return f"{self._prefix} {salt} {words}" if self._prefix else f"{salt} {words}"

    def words(self, seq: int, tokens: int) -> str:
        """Words alone, for what follows a first turn."""
        first = (seq * 7919) % (2 * CYCLE)
        return self._text[self._starts[first] : self._starts[first + max(1, tokens)] - 1]
