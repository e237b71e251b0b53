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
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Dataset, Synthetic, TokenLengths, WorkloadSpec

from .engines.base import Dialect, Prompt
from .words import WORDS

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
        count = max(1, tokens - self._prefix_tokens - SALT_TOKENS)
        first = (seq * 7919) % (2 * CYCLE)
        words = self._text[self._starts[first] : self._starts[first + count] - 1]
        return f"{self._prefix} {salt} {words}" if self._prefix else f"{salt} {words}"


Tokens = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Line(msgspec.Struct):
    """One line of a data set. `timestamp` in milliseconds, `input_length` and `output_length` in tokens: the fields of
    published request traces."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_output_tokens: Tokens | None = None
    timestamp: Annotated[float, msgspec.Meta(ge=0)] | None = None
    input_length: Tokens | None = None
    output_length: Tokens | None = None


_LINE = msgspec.json.Decoder(_Line)


def salt_of(*parts: object) -> str:
    """Eight hexadecimal digits of what must differ between two runs, repetitions or stages."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8]


def read_json_lines(text: str, source: str) -> list[Prompt]:
    """JSON lines -> prompts, in the order of their times where they have any. Raises InvalidInput naming the line."""
    prompts = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = _LINE.decode(line)
        except msgspec.DecodeError as exc:
            raise InvalidInput(f"{source}:{number}: {str(exc)[:200].replace(' | null', '')}") from exc
        if not row.prompt and not row.messages and row.input_length is None:
            raise InvalidInput(f"{source}:{number}: neither prompt nor messages nor input_length is set")
        prompts.append(
            Prompt(
                row.prompt or "", tuple(row.messages) if row.messages else None,
                row.max_output_tokens or row.output_length, row.input_length, row.timestamp,
            )
        )  # fmt: skip
    if not prompts:
        raise InvalidInput(f"{source} holds no prompts")
    return sorted(prompts, key=lambda prompt: prompt.at_ms or 0.0)


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
        self._literal = literal_prompts(workload.dataset, dataset_file)
        self._inputs = Lengths(synthetic.input_tokens, synthetic.seed) if synthetic else None
        self._text = self._words(synthetic)
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

    def _words(self, synthetic: Synthetic | None) -> SyntheticText | None:
        """What prompts of a given length are cut from; None where every prompt has its own text."""
        if synthetic is not None and self._inputs is not None:
            longest = max(self._inputs[i] for i in range(CYCLE))
            return SyntheticText(synthetic.seed, longest, synthetic.shared_prefix_tokens)
        longest = max((prompt.input_tokens or 0 for prompt in self._literal or ()), default=0)
        return SyntheticText(1, longest) if longest else None

    def trace_offsets(self, speedup: float) -> list[int]:
        """Nanoseconds from the first request of a trace to each. Raises InvalidInput where a line has no time."""
        if self._literal is None or any(prompt.at_ms is None for prompt in self._literal):
            raise InvalidInput("a trace stage needs a data set of JSON lines, each with its timestamp in milliseconds")
        times = [prompt.at_ms or 0.0 for prompt in self._literal]
        return [round((at - times[0]) * 1e6 / speedup) for at in times]

    def output_tokens(self, seq: int) -> int:
        """The most tokens the seq-th answer may have."""
        limit = self._workload.max_output_tokens
        return min(limit, self._outputs[seq]) if self._outputs else limit

    def renderer(self, salt: str, id_prefix: str) -> Callable[[int], bytes]:
        """A function from sequence number to the bytes of that request."""
        head = self._head

        def render(seq: int) -> bytes:
            body = self._literal_body(seq, salt) if self._literal else self._synthetic_body(seq, salt)
            return b"%b%b-%d\r\nContent-Length: %d\r\n\r\n%b" % (head, id_prefix.encode(), seq, len(body), body)

        return render

    def _synthetic_body(self, seq: int, salt: str) -> bytes:
        before, after = self._template(self.output_tokens(seq))
        return b"%b%b%b" % (before, self._made_up(seq, None, salt).encode(), after)

    def _made_up(self, seq: int, tokens: int | None, salt: str) -> str:
        assert self._text is not None
        length = tokens if tokens is not None or self._inputs is None else self._inputs[seq]
        return self._text.prompt(seq, length or 1, f"[{salt}{seq:08d}]")

    def _template(self, output_tokens: int) -> tuple[bytes, bytes]:
        if output_tokens not in self._templates:
            body = self._dialect.with_prompt(self._payload(output_tokens), Prompt(_MARK))
            before, _, after = msgspec.json.encode(body).partition(json.dumps(_MARK, ensure_ascii=False)[1:-1].encode())
            self._templates[output_tokens] = before, after
        return self._templates[output_tokens]

    def _literal_body(self, seq: int, salt: str) -> bytes:
        assert self._literal is not None
        prompt = self._literal[seq % len(self._literal)]
        if prompt.input_tokens is not None and not prompt.text and not prompt.messages:
            prompt = replace(prompt, text=self._made_up(seq, prompt.input_tokens, salt))
        body = self._dialect.with_prompt(self._payload(prompt.max_output_tokens or self.output_tokens(seq)), prompt)
        return msgspec.json.encode(body)

    def _payload(self, output_tokens: int) -> dict[str, Any]:
        return self._dialect.payload(self._model, self._workload, output_tokens)
