"""Workload + seed -> the bytes of every request.

A fixed-length salt makes every prompt unique (a prefix cache must not answer), is the same length everywhere and is no
part of the fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import msgspec

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.quality import QualityTest
from tokenmark_schemas.workload import Synthetic, WorkloadSpec

from ..engines.base import Dialect, Prompt
from .datasets import literal_prompts
from .synthetic import CYCLE, Lengths, SyntheticText

_MARK = "\u241etokenmark\u241e"


def salt_of(*parts: object) -> str:
    """Eight hexadecimal digits of what must differ between two runs, repetitions or stages."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8]


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

    def output_limit(self, number: int, step: int | None = None) -> int:
        """The most tokens an answer may have: what the data set or the spread of lengths says of the number-th request (or
        conversation, at that step of it), never above the workload's own limit."""
        said = self._prompt(number).max_output_tokens if self._literal else None
        if said is None and self._outputs:
            said = self._outputs[number if step is None else step]
        return min(self._workload.most_tokens, said or self._workload.most_tokens)

    def test_of(self, number: int) -> QualityTest | None:
        """Whose answer the number-th request's is, where it is to be judged."""
        return self._prompt(number).test if self._literal else None

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
        return (
            recorded[turn] if turn < len(recorded) else self._script.words(step, self.output_limit(conversation, step))
        )

    def request(self, request_id: str, messages: Sequence[dict[str, Any]], conversation: int, step: int) -> bytes:
        """The bytes of one turn's request."""
        payload = self._payload(self.output_limit(conversation, step))
        return self._whole(
            request_id, msgspec.json.encode(self.dialect.with_prompt(payload, Prompt("", tuple(messages))))
        )

    @cached_property
    def _script(self) -> SyntheticText:
        return SyntheticText(2, self._workload.most_tokens)

    def _prompt(self, number: int) -> Prompt:
        assert self._literal is not None
        return self._literal[number % len(self._literal)]

    # --- bodies -----------------------------------------------------------------------------------------------------

    def _synthetic_body(self, seq: int, salt: str) -> bytes:
        before, after = self._template(self.output_limit(seq))
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
        body = self.dialect.with_prompt(self._payload(self.output_limit(seq)), prompt)
        return msgspec.json.encode(body)

    def _filled(self, prompt: Prompt, number: int, salt: str) -> Prompt:
        """With made-up text where a trace tells only its length."""
        if prompt.input_tokens is None or prompt.text or prompt.messages:
            return prompt
        return replace(prompt, text=self._made_up(number, prompt.input_tokens, salt))

    def _payload(self, output_tokens: int) -> dict[str, Any]:
        return self.dialect.payload(self._model, self._workload, output_tokens)
