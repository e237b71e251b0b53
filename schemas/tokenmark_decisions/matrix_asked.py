"""BenchmarkMatrix -> its cells (pure). The operator makes them, and the report of a matrix of a cluster makes them again to know what its runs stood for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.matrix_object import MOST_CELLS, MatrixFile, MatrixModel, MatrixSpec
from tokenmark_schemas.profiles import Depth, Profile
from tokenmark_schemas.workload import canonical_json

from .matrix_cells import Candidate, Cell, Variant, cells

DEPTH: dict[str, Depth] = {"Quick": "quick", "Standard": "standard", "Full": "full"}


def asked_cells(spec: MatrixSpec, profiles: Sequence[Profile]) -> list[Cell]:
    """`profiles` are all that there are. Raises InvalidInput for one that there is not, for what a cluster cannot measure, and for more than MOST_CELLS."""
    uses = _uses(spec.profiles, profiles)
    server = spec.server
    threads: list[int | None] = [*server.threads] or [None]
    layers: list[int | None] = [*server.gpu_layers] or [None]
    contexts: list[int | None] = [*server.contexts] or [None]
    variants = [Variant(*each) for each in product(threads, layers, contexts)]
    files = [(model, file) for model in spec.models for file in model.files]
    many = len(files) * len(variants) * sum(len(use.parts) for use in uses)
    if many > MOST_CELLS:
        raise InvalidInput(f"the matrix would have {many} cells; {MOST_CELLS} are the most")
    salt = [server.execution.image, server.args, spec.store.claim_name if spec.store else None]
    return cells(
        [_candidate(*each) for each in files],
        uses,
        variants,
        DEPTH[spec.depth],
        spec.limits.of_matrix(),
        spec.seed,
        salt,
    )


def object_id(name: str, asked: Sequence[Cell]) -> str:
    """The same question of the same profiles has the same: what they hold and what they are called."""
    told = [[cell.name, cell.hash] for cell in asked]
    return f"{name}-{hashlib.sha256(canonical_json(told)).hexdigest()[:8]}"


def file_of(spec: MatrixSpec, cell: Cell) -> MatrixFile:
    """What its server is started with."""
    model = next(model for model in spec.models if model.name == cell.candidate.model)
    return next(file for file in model.files if file.quantization == cell.candidate.quantization)


def _candidate(model: MatrixModel, file: MatrixFile) -> Candidate:
    told = [model.hub.snake() if model.hub else None, file.path, file.sha256]
    identity = hashlib.sha256(canonical_json(told)).hexdigest()[:16]
    return Candidate(model.name, file.quantization, file.size_bytes or 0, 0, model.context or 0, identity)


def _uses(names: Sequence[str], known: Sequence[Profile]) -> list[Profile]:
    by_name = {each.name: each for each in known}
    if unknown := [name for name in names if name not in by_name]:
        raise InvalidInput(f"profiles: there is no {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names] or [each for each in known if not each.on_request]
