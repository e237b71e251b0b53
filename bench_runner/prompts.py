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
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Dataset, Spread, Synthetic, WorkloadSpec

from .engines.base import Dialect, Prompt
from .words import WORDS

SALT_TOKENS = 8
CYCLE = 4096
_MARK = "\u241etokenmark\u241e"


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


Tokens = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Said(msgspec.Struct):
    """One utterance, in the shape of the ShareGPT data sets."""

    value: str
    speaker: str = msgspec.field(name="from")


class _Line(msgspec.Struct):
    """One line of a data set. `timestamp` in milliseconds, `input_length` and `output_length` in tokens: the fields of
    published request traces. `turns` is what a user says one after the other, `conversations` the same with answers."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_output_tokens: Tokens | None = None
    timestamp: Annotated[float, msgspec.Meta(ge=0)] | None = None
    input_length: Tokens | None = None
    output_length: Tokens | None = None
    turns: list[str] | None = None
    conversations: list[_Said] | None = None

    def said(self) -> tuple[list[str], list[str]]:
        """What the user said, and what was said back."""
        if self.turns is not None:
            return self.turns, []
        users: list[str] = []
        answers: list[str] = []
        for one in self.conversations or []:
            if one.speaker in ("human", "user") and len(users) == len(answers):
                users.append(one.value)
            elif one.speaker in ("human", "user"):
                users[-1] += "\n\n" + one.value  # said in two pieces
            elif one.speaker in ("gpt", "assistant") and len(answers) < len(users):
                answers.append(one.value)
        return users, answers


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
        turns, answers = row.said()
        if not row.prompt and not row.messages and row.input_length is None and not turns:
            raise InvalidInput(f"{source}:{number}: neither prompt, messages, turns nor input_length is set")
        prompts.append(
            Prompt(
                row.prompt or "", tuple(row.messages) if row.messages else None,
                row.max_output_tokens or row.output_length, row.input_length, row.timestamp, tuple(turns), tuple(answers),
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
        self.dialect, self._model, self._workload = dialect, model, workload
        self.streaming = workload.streaming
        synthetic = workload.dataset.synthetic
        self._literal = literal_prompts(workload.dataset, dataset_file)
        has_turns = any(prompt.turns for prompt in self._literal or ())
        if workload.conversation is None and has_turns:
            raise InvalidInput("the data set holds conversations: the workload needs `conversation: {}`")
        if workload.conversation is not None and self._literal and not has_turns:
            raise InvalidInput(
                "the workload asks for conversations and its data set has none: give its lines `turns`, or leave "
                "conversation (--turns, --think-ms) out"
            )
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

        def render(seq: int) -> bytes:
            body = self._literal_body(seq, salt) if self._literal else self._synthetic_body(seq, salt)
            return self._whole(f"{id_prefix}-{seq}", body)

        return render

    def _whole(self, request_id: str, body: bytes) -> bytes:
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (self._head, request_id.encode(), len(body), body)

    # --- conversations ----------------------------------------------------------------------------------------------

    def turns_of(self, conversation: int) -> int | None:
        """How many turns the data set gives a conversation; None for synthetic text."""
        return max(1, len(self._prompt(conversation).turns)) if self._literal else None

    def said_by_user(self, conversation: int, turn: int, salt: str, step: int) -> list[dict[str, Any]]:
        """The messages of a turn. Only the first one carries the salt: what follows is under its prefix."""
        if self._literal:
            prompt = self._prompt(conversation)
            if prompt.turns:
                return [{"role": "user", "content": prompt.turns[turn]}]
            return self._filled(prompt, conversation, salt).as_messages
        assert self._text is not None
        assert self._inputs is not None
        first = turn == 0
        words = self._made_up(conversation, None, salt) if first else self._text.words(step, self._inputs[step])
        return [{"role": "user", "content": words}]

    def scripted_answer(self, conversation: int, turn: int, step: int) -> str:
        """What stands for an engine's answer where every request has to have the same bytes everywhere."""
        recorded = self._prompt(conversation).answers if self._literal else ()
        return recorded[turn] if turn < len(recorded) else self._script.words(step, self.output_tokens(step))

    def request(self, request_id: str, messages: Sequence[dict[str, Any]], conversation: int, step: int) -> bytes:
        """The bytes of one turn's request."""
        said = self._prompt(conversation).max_output_tokens if self._literal else None
        payload = self._payload(said or self.output_tokens(step))
        return self._whole(
            request_id, msgspec.json.encode(self.dialect.with_prompt(payload, Prompt("", tuple(messages))))
        )

    @cached_property
    def _script(self) -> SyntheticText:
        return SyntheticText(2, self._workload.max_output_tokens)

    def _prompt(self, number: int) -> Prompt:
        assert self._literal is not None
        return self._literal[number % len(self._literal)]

    # --- bodies -----------------------------------------------------------------------------------------------------

    def _synthetic_body(self, seq: int, salt: str) -> bytes:
        before, after = self._template(self.output_tokens(seq))
        return b"%b%b%b" % (before, self._made_up(seq, None, salt).encode(), after)

    def _made_up(self, seq: int, tokens: int | None, salt: str) -> str:
        assert self._text is not None
        length = tokens if tokens is not None or self._inputs is None else self._inputs[seq]
        return self._text.prompt(seq, length or 1, f"[{salt}{seq:08d}]")

    def _template(self, output_tokens: int) -> tuple[bytes, bytes]:
        if output_tokens not in self._templates:
            body = self.dialect.with_prompt(self._payload(output_tokens), Prompt(_MARK))
            before, _, after = msgspec.json.encode(body).partition(json.dumps(_MARK, ensure_ascii=False)[1:-1].encode())
            self._templates[output_tokens] = before, after
        return self._templates[output_tokens]

    def _literal_body(self, seq: int, salt: str) -> bytes:
        prompt = self._filled(self._prompt(seq), seq, salt)
        body = self.dialect.with_prompt(self._payload(prompt.max_output_tokens or self.output_tokens(seq)), prompt)
        return msgspec.json.encode(body)

    def _filled(self, prompt: Prompt, number: int, salt: str) -> Prompt:
        """With made-up text where a trace tells only its length."""
        if prompt.input_tokens is None or prompt.text or prompt.messages:
            return prompt
        return replace(prompt, text=self._made_up(number, prompt.input_tokens, salt))

    def _payload(self, output_tokens: int) -> dict[str, Any]:
        return self.dialect.payload(self._model, self._workload, output_tokens)
