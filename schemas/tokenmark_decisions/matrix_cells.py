"""Models, quantisations and profiles -> the cells of a matrix in the order in which they are run, and why one need not be (pure).

What is likely to run comes first, so that a person sees something soon and the failure of a small model saves the time of a large one: four-bit
quantisations before the others, small models before large ones, light loads before heavy ones.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from tokenmark_schemas.benchmarkrun import EngineName
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.matrix import MatrixLimits, ServerFacts
from tokenmark_schemas.profiles import Depth, Profile, ProfilePart
from tokenmark_schemas.workload import canonical_json

from .sweep_cells import LONGEST_NAME

REPETITIONS = {"quick": 1, "standard": 1, "full": 3}
CODE_TOKENS = 1500  # of an answer: a component
BITS = re.compile(r"(\d+)")
FIRST_BITS = 4
HEAT = ("maxCelsius", "maxThrottledSeconds")  # rules that end a stress test for its machine's sake


@dataclass(frozen=True)
class Candidate:
    """A model's file; sizes are 0 where they are not known. `identity` tells its content from any other's."""

    model: str
    quantization: str
    file_bytes: int
    parameters: int
    context: int  # that it was made for; 0 where it does not say
    identity: str


@dataclass(frozen=True)
class Variant:
    """How a server is started, where several ways are compared; None is the server's own choice, or of `context`, the tokens kept for a stream, what each
    use asks for. Where a use asks for more, it gets that."""

    threads: int | None
    gpu_layers: int | None = None
    context: int | None = None

    def called(self, among: Sequence[Variant]) -> str:
        """What tells it from the others, such as t2-g0-c8192; empty where there are none."""
        layers = "own" if self.gpu_layers is None else str(self.gpu_layers)
        told = (
            (f"t{self.threads}", {each.threads for each in among}), (f"g{layers}", {each.gpu_layers for each in among}),
            (f"c{self.context}", {each.context for each in among}),
        )  # fmt: skip
        return "-".join(word for word, values in told if len(values) > 1)

    def keeps(self, part: ProfilePart) -> int:
        """Tokens for a stream of that part."""
        return max(part.context, self.context or 0)

    def repeats(self, part: ProfilePart, among: Sequence[Variant]) -> bool:
        """A part that asks for more than this context and than a smaller one is the same at both."""
        return self.context is not None and self.context <= part.context and any(
            (each.threads, each.gpu_layers) == (self.threads, self.gpu_layers) and (each.context or 0) < self.context for each in among
        )  # fmt: skip


Server = tuple[str, str, int, int, str]


@dataclass(frozen=True)
class Cell:
    """`spec` is a BenchmarkRun's without an address, in camelCase, or what is asked of code; `hash` is of what it asks of whom. `way` is what tells its variant from the others."""

    name: str
    candidate: Candidate
    profile: Profile
    part: ProfilePart
    variant: Variant
    way: str
    hash: str
    spec: dict[str, Any]

    @property
    def server(self) -> Server:
        """Cells of one server have the same: model, quantisation, context of all streams, streams, and how it is started."""
        streams = self.part.concurrency
        return self.candidate.model, self.candidate.quantization, self.context * streams, streams, self.way

    @property
    def context(self) -> int:
        """Tokens that its server keeps for a stream."""
        return self.variant.keeps(self.part)


def by_likelihood(quantization: str) -> tuple[int, int, str]:
    """Q4 first, then the larger ones upwards, then the smaller ones."""
    found = BITS.search(quantization)
    bits = int(found[1]) if found else 99
    return (0 if bits == FIRST_BITS else 1 if bits > FIRST_BITS else 2), bits, quantization


def cells(
    candidates: Sequence[Candidate], profiles: Sequence[Profile], variants: Sequence[Variant], depth: Depth, limits: MatrixLimits, seed: int = 1,
    salt: object = None, engine: EngineName = "llamacpp",
) -> list[Cell]:  # fmt: skip
    """`salt` is whatever else a result depends on, `engine` what serves. Raises InvalidInput where two would have one name."""
    known = all(each.file_bytes for each in candidates)  # else in the order of the list
    ordered = sorted(
        candidates,
        key=lambda each: (by_likelihood(each.quantization), *((each.file_bytes, each.model) if known else ())),
    )
    parts = [(profile, part) for profile in profiles for part in profile.parts]
    found = []
    for candidate, variant, (profile, part) in product(ordered, variants, parts):
        if variant.repeats(part, variants):
            continue
        way = variant.called(variants)
        spec = _spec(candidate, profile, part, depth, limits, seed, engine)
        asked = [
            spec,
            candidate.identity,
            variant.keeps(part),
            [variant.threads, variant.gpu_layers],
            salt,
        ]
        digest = hashlib.sha256(canonical_json(asked)).hexdigest()[:12]
        labels = {
            "cell": digest,
            "matrix-model": candidate.model,
            "quantization": candidate.quantization,
            "profile": profile.name,
        }
        name = cell_name(candidate.model, candidate.quantization, way, profile.name, part.name)
        found.append(
            Cell(name, candidate, profile, part, variant, way, digest, {**spec, "environment": {"labels": labels}})
        )
    if twice := sorted(name for name, times in Counter(cell.name for cell in found).items() if times > 1):
        raise InvalidInput(
            f"several cells would be called {', '.join(twice)}; give models, profiles or parts other names"
        )
    # stable, so that cells of one server stand side by side in the order of the profiles
    return sorted(
        found, key=lambda cell: (ordered.index(cell.candidate), variants.index(cell.variant), cell.server[2:4])
    )


def cell_name(model: str, *rest: str | None) -> str:
    """As the run is called: what is too long for it is cut, with four digits of what it was."""
    tail = _cut("-".join(filter(None, rest)), LONGEST_NAME * 2 // 3)
    return f"{_cut(model, LONGEST_NAME - len(tail) - 1)}-{tail}"


def _cut(text: str, room: int) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if name and len(name) <= room:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:4]
    return f"{name[: room - 5].strip('-')}-{digest}".strip("-")


def matrix_id(cells: Iterable[Cell]) -> str:
    """The same cells have the same."""
    return hashlib.sha256(canonical_json(sorted(cell.hash for cell in cells))).hexdigest()[:8]


def _spec(
    candidate: Candidate,
    profile: Profile,
    part: ProfilePart,
    depth: Depth,
    limits: MatrixLimits,
    seed: int,
    engine: EngineName,
) -> dict[str, Any]:
    ends = {key: value for key, value in getattr(profile.each, depth).camel().items() if value is not None}
    stop = {"maxCelsius": limits.celsius, "maxThrottledSeconds": 30} if profile.kind == "stress" else {}
    target = {
        "engine": engine, "model": candidate.model, "firstTokenTimeoutSeconds": limits.ttft_s, "requestTimeoutSeconds": limits.request_s,
    }  # fmt: skip
    if part.workload is None:
        most = part.max_output_tokens or CODE_TOKENS
        return {"code": {"runs": ends["requestCount"], "maxOutputTokens": most}, "target": target}
    return {
        "target": target, "workload": part.workload.camel(), "stages": [{"name": f"c{part.concurrency}", "concurrency": part.concurrency, **ends}],
        "warmup": profile.warmup.camel(), "repetitions": 1 if profile.kind != "speed" else REPETITIONS[depth], "seed": seed,
        "stopRules": {"maxErrorsPerMille": 500, "minRequests": 2, **stop},
    }  # fmt: skip


# --- what need not be run -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """A cell that failed. `beyond` tells that it asked too much of the machine (time, memory, heat), which a larger model does too; a damaged file or a template
    that the server refuses is no other model's fault."""

    cell: Cell
    reason: str
    beyond: bool


def why_not(cell: Cell, *, needed: int, free: int, learned: int, ended: Sequence[Ended]) -> str | None:
    """Why a cell is not begun, in a sentence; None where it is. `learned` is what servers so far held beyond what was worked out, in bytes."""
    candidate = cell.candidate
    if candidate.context and cell.context > candidate.context:
        return f"it asks for {cell.context:,} tokens of context, and the model was made for {candidate.context:,}"
    if needed + learned > free and not cell.variant.gpu_layers:  # what goes to a GPU is not known here
        more = (
            f" with the {learned / 1e9:.1f} GB that servers before it held beyond what was worked out"
            if learned > 0.05e9
            else ""
        )
        return f"it would need {(needed + learned) / 1e9:.1f} GB{more}, and {free / 1e9:.1f} GB are free"
    for other in ended:
        if other.cell.variant != cell.variant:
            continue
        if other.cell.candidate == candidate and _heavier(cell, other.cell):
            return f"{_called(other.cell)} failed, and this is heavier: {other.reason}"
        same = other.cell.candidate.quantization == candidate.quantization and _same_load(cell, other.cell)
        if other.beyond and same and _larger(candidate, other.cell.candidate):
            return f"{other.cell.candidate.model} is smaller at the same quantisation, and failed: {other.reason}"
    return None


def learned_bytes(servers: Iterable[ServerFacts]) -> int:
    """The most that a server held beyond what was worked out for it: libraries and drivers, the same for a small model and a large one."""
    return max([0, *(each.held_bytes - each.needed_bytes for each in servers if each.held_bytes and each.needed_bytes)])


def too_slow(ttft_s: float | None, tokens_per_s: float | None, limits: MatrixLimits) -> str | None:
    """Of a trial, in a sentence."""
    if ttft_s is not None and ttft_s > limits.ttft_s:
        return f"the first token of a short answer was not there within {limits.ttft_s} s"
    if tokens_per_s is not None and tokens_per_s < limits.tokens_per_s:
        return f"{tokens_per_s:.1f} tokens/s, below {limits.tokens_per_s:g}"
    return None


def _heavier(cell: Cell, other: Cell) -> bool:
    if cell.profile.name != other.profile.name:
        return False
    names = [part.name for part in cell.profile.parts]
    return names.index(cell.part.name) > names.index(other.part.name)


def _same_load(cell: Cell, other: Cell) -> bool:
    return (cell.profile.name, cell.part.name) == (other.profile.name, other.part.name)


def _larger(candidate: Candidate, other: Candidate) -> bool:
    return candidate.model != other.model and 0 < other.file_bytes < candidate.file_bytes


def _called(cell: Cell) -> str:
    return f"{cell.profile.name} {cell.part.name}" if cell.part.name else cell.profile.name


def left_s(waiting: Iterable[Cell], spent: Sequence[tuple[Cell, float]]) -> float | None:
    """How long the rest takes: as long as cells of the same profile took for each byte of their model; of a profile that was not run yet, as any did.
    None before the first."""
    if not spent:
        return None
    pace: dict[str | None, list[float]] = {}
    for cell, seconds in spent:
        for name in (cell.profile.name, None):
            pace.setdefault(name, []).append(seconds / cell.candidate.file_bytes)
    mean = {name: sum(values) / len(values) for name, values in pace.items()}
    return sum(mean.get(cell.profile.name, mean[None]) * cell.candidate.file_bytes for cell in waiting)
