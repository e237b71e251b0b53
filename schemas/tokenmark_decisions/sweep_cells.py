"""A question over many runs -> the runs that it stands for (pure). Laptop and cluster make the same ones, in the same order.

Levels of load are stages of one run, so that what drifts between them is seen by one client; whatever else varies is a run of its own.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from tokenmark_schemas.database import Index
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.recipe import Question
from tokenmark_schemas.workload import canonical_json

LONGEST_NAME = 48


@dataclass(frozen=True)
class Asked:
    """One of those that are asked: what runs are called by, and members of `spec.target` that replace the base's."""

    name: str | None = None
    target: dict[str, Any] | None = None
    whole: bool = False  # nothing of the base's target stays


@dataclass(frozen=True)
class Cell:
    """One run: what varies, and its spec in camelCase. `hash` is of what it asks for; it stands in the result as label `cell`, so that a
    result of an earlier question, or of another target, is not taken for this one's."""

    name: str
    asked: str | None
    hash: str
    spec: dict[str, Any]


ASKED = {"vary", "each", "repetitions", "cooldown_seconds", "seed"}  # what tells one question from another


def sweep_id(name: str, question: Question, base: dict[str, Any]) -> str:
    """The same question has the same id, so that a sweep is found again. What it is for, how long it may take, and whether it goes on,
    are no part of it."""
    said = {**question.model_dump(mode="json", include=ASKED), "name": name, "spec": base}
    return f"{name}-{hashlib.sha256(canonical_json(said)).hexdigest()[:8]}"


def count(question: Question) -> int:
    """Runs that it stands for, before any of them is made."""
    vary = question.vary
    return math.prod(
        max(1, len(each)) for each in (vary.engines or vary.targets, vary.models, vary.workloads, vary.indexes)
    )


def cells(
    name: str, question: Question, base: dict[str, Any], asked: Sequence[Asked], *, most: int, identity: str | None = None,
    salt: str | None = None,
) -> list[Cell]:  # fmt: skip
    """In the order in which they are run: shuffled by the seed, for what drifts must not look like an engine's doing. `base` is a run's spec
    without stages. `identity` is the sweep's id where it has one; `salt` what else a result depends on. Raises InvalidInput where there are more
    than `most`, or two would have one name."""
    vary = question.vary
    if (many := count(question)) > most:
        raise InvalidInput(f"vary stands for {many} runs; {most} are the most")
    models: list[str | None] = [*vary.models] or [None]
    workloads: list[str | None] = [*vary.workloads] or [None]
    indexes: list[Index | None] = [*vary.indexes] or [None]
    identity = identity or sweep_id(name, question, base)
    found = [
        _cell(name, question, identity, _spec(question, base, *each), salt, each[0].name, *each[1:])
        for each in product(asked or [Asked()], models, workloads, indexes)
    ]
    named = Counter(cell.name for cell in found)
    if twice := sorted(name for name, times in named.items() if times > 1):
        raise InvalidInput(f"several of the runs would be called {', '.join(twice)}; give what varies other names")
    random.Random(f"sweep:{question.seed}").shuffle(found)
    return found


def asked_of(question: Question) -> list[Asked]:
    """The whole targets that a question names."""
    return [Asked(each.name, each.target.camel(), whole=True) for each in question.vary.targets]


def as_name(text: str) -> str:
    """As runs are called."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST_NAME].strip("-")


def _spec(
    question: Question, base: dict[str, Any], asked: Asked, model: str | None, workload: str | None, index: Index | None
) -> dict[str, Any]:
    target = {} if asked.whole else dict(base["target"])
    if asked.target and "endpoint" in asked.target:
        target.pop("serviceRef", None)
    target |= asked.target or {}
    if model is not None:
        target["model"] = model
    spec = {
        **base, "target": target, "stages": [_stage(question, level) for level in (question.vary.clients or question.vary.rates)],
        "repetitions": question.repetitions, "cooldownSeconds": question.cooldown_seconds, "seed": question.seed,
    }  # fmt: skip
    if workload is not None:
        spec["workloadRef"] = {"name": workload}
    if index is not None:
        spec["database"] = {**spec.get("database", {}), "index": index.camel()}
    if question.purpose:
        spec["purpose"] = question.purpose
    return spec


def _cell(
    name: str, question: Question, identity: str, spec: dict[str, Any], salt: str | None, asked: str | None,
    model: str | None, workload: str | None, index: Index | None,
) -> Cell:  # fmt: skip
    asked_for = {key: value for key, value in spec.items() if key != "purpose"}
    digest = hashlib.sha256(canonical_json([asked_for, salt] if salt else asked_for)).hexdigest()[:12]
    environment = dict(spec.get("environment") or {})
    environment["labels"] = {**environment.get("labels", {}), "sweep": identity, "cell": digest}
    parts = [asked, model, workload, _indexed(index)]
    return Cell(as_name("-".join(filter(None, parts)) or name), asked, digest, {**spec, "environment": environment})


def _stage(question: Question, level: int | str) -> dict[str, Any]:
    each = {key: value for key, value in question.each.camel().items() if value is not None}
    if isinstance(level, int):
        return {"name": f"c{level}", "concurrency": level, **each}
    return {"name": "r" + level.replace(".", "-"), "requestRate": level, **each}


def _indexed(index: Index | None) -> str | None:
    if index is None:
        return None
    return "flat" if index.kind == "Flat" else f"m{index.m}-ef{index.ef_construction}-{index.ef_search}"
