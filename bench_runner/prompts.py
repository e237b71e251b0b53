"""Workload + seed -> the bytes of every request.

Synthetic text is cut from one seeded run of common words that nearly all vocabularies hold as a single token, so that
lengths are right to a few percent without downloading a tokenizer; the server's own count is what gets reported. A
fixed-length salt makes every prompt unique (a prefix cache must not answer), is the same length everywhere and is no
part of the fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Dataset, Synthetic, TokenLengths, WorkloadSpec

from .engines.base import Dialect, Prompt

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "one",
    "had",
    "by",
    "word",
    "but",
    "not",
    "what",
    "all",
    "were",
    "we",
    "when",
    "your",
    "can",
    "said",
    "there",
    "use",
    "an",
    "each",
    "which",
    "she",
    "do",
    "how",
    "their",
    "if",
    "will",
    "up",
    "other",
    "about",
    "out",
    "many",
    "then",
    "them",
    "these",
    "so",
    "some",
    "her",
    "would",
    "make",
    "like",
    "him",
    "into",
    "time",
    "has",
    "look",
    "two",
    "more",
    "write",
    "go",
    "see",
    "number",
    "no",
    "way",
    "could",
    "people",
    "my",
    "than",
    "first",
    "water",
    "been",
    "call",
    "who",
    "oil",
    "its",
    "now",
    "find",
    "long",
    "down",
    "day",
    "did",
    "get",
    "come",
    "made",
    "may",
    "part",
    "over",
    "new",
    "sound",
    "take",
    "only",
    "little",
    "work",
    "know",
    "place",
    "year",
    "live",
    "me",
    "back",
    "give",
    "most",
    "very",
    "after",
    "thing",
    "our",
    "just",
    "name",
    "good",
    "sentence",
    "man",
    "think",
    "say",
    "great",
    "where",
    "help",
    "through",
    "much",
    "before",
    "line",
    "right",
    "too",
    "mean",
    "old",
    "any",
    "same",
    "tell",
    "boy",
    "follow",
    "came",
    "want",
    "show",
    "also",
    "around",
    "form",
    "three",
    "small",
    "set",
    "put",
    "end",
    "does",
    "another",
    "well",
    "large",
    "must",
    "big",
    "even",
    "such",
    "because",
    "turn",
    "here",
    "why",
    "ask",
    "went",
    "men",
    "read",
    "need",
    "land",
    "different",
    "home",
    "us",
    "move",
    "try",
    "kind",
    "hand",
    "picture",
    "again",
    "change",
    "off",
    "play",
    "spell",
    "air",
    "away",
    "animal",
    "house",
    "point",
    "page",
    "letter",
    "mother",
    "answer",
    "found",
    "study",
    "still",
    "learn",
    "should",
    "world",
]

SALT_TOKENS = 8
CYCLE = 4096
_MARK = "\u241etokenmark\u241e"


class Lengths:
    """Seeded lengths in tokens, the same sequence for the same seed; repeats after 4096."""

    def __init__(self, lengths: TokenLengths, seed: int) -> None:
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

    def __init__(self, spec: Synthetic) -> None:
        rng = random.Random(f"text:{spec.seed}")
        self._inputs = Lengths(spec.input_tokens, spec.seed)
        longest = max(self._inputs[i] for i in range(CYCLE))
        words = rng.choices(WORDS, k=longest + 2 * CYCLE)
        self._text = " ".join(words)
        self._starts = [0]
        for word in words:
            self._starts.append(self._starts[-1] + len(word) + 1)
        self._prefix = " ".join(rng.choices(WORDS, k=spec.shared_prefix_tokens))
        self._prefix_tokens = spec.shared_prefix_tokens

    def prompt(self, seq: int, salt: str) -> str:
        """The text of the seq-th prompt: shared prefix, salt, words."""
        count = max(1, self._inputs[seq] - self._prefix_tokens - SALT_TOKENS)
        first = (seq * 7919) % (2 * CYCLE)
        words = self._text[self._starts[first] : self._starts[first + count] - 1]
        return f"{self._prefix} {salt} {words}" if self._prefix else f"{salt} {words}"


def salt_of(*parts: object) -> str:
    """Eight hexadecimal digits of what must differ between two runs, repetitions or stages."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8]


def read_json_lines(text: str, source: str) -> list[Prompt]:
    """JSON lines -> prompts. Raises InvalidInput naming the line."""
    prompts = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
            messages = row.get("messages")
            prompts.append(
                Prompt(str(row.get("prompt", "")), tuple(messages) if messages else None, row.get("max_output_tokens"))
            )
        except (msgspec.DecodeError, AttributeError, TypeError) as exc:
            raise InvalidInput(f"{source}:{number}: expected a JSON object with prompt or messages") from exc
        if not messages and not row.get("prompt"):
            raise InvalidInput(f"{source}:{number}: neither prompt nor messages is set")
    if not prompts:
        raise InvalidInput(f"{source} holds no prompts")
    return prompts


def literal_prompts(dataset: Dataset, dataset_file: str | None) -> Sequence[Prompt] | None:
    """The prompts of a data set that brings its own; None for synthetic text. Raises InvalidInput on a bad file."""
    if dataset.prompts is not None:
        return [Prompt(text) for text in dataset.prompts]
    if dataset.synthetic is not None:
        return None
    if dataset_file is None:
        if dataset.jsonl is None or not dataset.jsonl.uri.startswith("file://"):
            raise InvalidInput("the data set is neither a local file nor mounted beside the run; give it as file://")
        dataset_file = dataset.jsonl.uri.removeprefix("file://")
    try:
        content = Path(dataset_file).read_bytes()
    except OSError as exc:
        raise InvalidInput(f"the data set {dataset_file} cannot be read: {exc.strerror}") from exc
    if dataset.jsonl is not None and hashlib.sha256(content).hexdigest() != dataset.jsonl.sha256:
        raise InvalidInput(f"the data set {dataset_file} does not have the sha256 that the workload names")
    return read_json_lines(content.decode("utf-8", "replace"), dataset_file)


class RequestFactory:
    """Renders whole HTTP requests; the JSON around the prompt is built once for each output length."""

    def __init__(
        self, dialect: Dialect, model: str, workload: WorkloadSpec, *, host: str, path: str, token: str | None,
        proxy_authorization: str | None = None, dataset_file: str | None = None,
    ) -> None:  # fmt: skip
        self._dialect, self._model, self._workload = dialect, model, workload
        synthetic = workload.dataset.synthetic
        self._text = SyntheticText(synthetic) if synthetic else None
        self._literal = literal_prompts(workload.dataset, dataset_file)
        outputs = synthetic.output_tokens if synthetic else None
        self._outputs = Lengths(outputs, synthetic.seed + 1) if outputs and synthetic else None
        self._templates: dict[int, tuple[bytes, bytes]] = {}
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        if proxy_authorization:
            authorization += f"Proxy-Authorization: {proxy_authorization}\r\n"
        accept = "text/event-stream" if workload.streaming else "application/json"
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tokenmark\r\nAccept: {accept}\r\n"
            "Accept-Encoding: identity\r\n"
            f"Content-Type: application/json\r\n{authorization}X-Request-Id: "
        ).encode()

    def output_tokens(self, seq: int) -> int:
        """The most tokens the seq-th answer may have."""
        limit = self._workload.max_output_tokens
        return min(limit, self._outputs[seq]) if self._outputs else limit

    def renderer(self, salt: str, id_prefix: str) -> Callable[[int], bytes]:
        """A function from sequence number to the bytes of that request."""
        head = self._head

        def render(seq: int) -> bytes:
            body = self._synthetic_body(seq, salt) if self._text else self._literal_body(seq, salt)
            return b"%b%b-%d\r\nContent-Length: %d\r\n\r\n%b" % (head, id_prefix.encode(), seq, len(body), body)

        return render

    def _synthetic_body(self, seq: int, salt: str) -> bytes:
        before, after = self._template(self.output_tokens(seq))
        assert self._text is not None
        return b"%b%b%b" % (before, self._text.prompt(seq, f"[{salt}{seq:08d}]").encode(), after)

    def _template(self, output_tokens: int) -> tuple[bytes, bytes]:
        if output_tokens not in self._templates:
            body = self._dialect.with_prompt(self._payload(output_tokens), Prompt(_MARK))
            before, _, after = msgspec.json.encode(body).partition(json.dumps(_MARK, ensure_ascii=False)[1:-1].encode())
            self._templates[output_tokens] = before, after
        return self._templates[output_tokens]

    def _literal_body(self, seq: int, salt: str) -> bytes:
        assert self._literal is not None
        prompt = self._literal[seq % len(self._literal)]
        body = self._dialect.with_prompt(self._payload(prompt.max_output_tokens or self.output_tokens(seq)), prompt)
        return msgspec.json.encode(body)

    def _payload(self, output_tokens: int) -> dict[str, Any]:
        return self._dialect.payload(self._model, self._workload, output_tokens)
