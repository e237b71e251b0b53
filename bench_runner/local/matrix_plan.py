"""Which files and uses a person asks for -> what a matrix is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tokenmark_decisions.matrix_cells import Candidate, Variant
from tokenmark_decisions.sweep_cells import as_name
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.local_models import ModelsFile
from tokenmark_schemas.profiles import Profile

from .gguf_file import ModelFile
from .store import chosen, held, scan, unlisted

EDGE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Chosen:
    """Candidates and their files by (model, quantisation); `left_out` are sentences of what was asked and is not there."""

    candidates: list[Candidate]
    files: dict[tuple[str, str], ModelFile]
    left_out: list[str]


def choose_models(listed: ModelsFile | None, folder: Path, names: Sequence[str], quants: Sequence[str]) -> Chosen:
    """Of a list its models, without one every whole file of the folder. Raises InvalidInput for a name or a quantisation that nothing has, and where
    nothing is left."""
    found = scan(folder)
    files, left_out = dict[tuple[str, str], ModelFile](), list[str]()
    if listed is not None:
        for each in chosen(held(listed, found, folder), names):
            files |= {(each.model.name, word): file for word, file in each.files.items()}
            left_out += [f"{each.model.name}: {problem}" for problem in each.problems]
            left_out += [
                f"{each.model.name} {word} is not there; tokenmark models pull {each.model.name}"
                for word in each.missing
            ]
        left_out += [
            f"{file.path}: no model of the list says that it is it" for file in unlisted(listed, found, folder)
        ]
    else:
        files = _by_their_own_names(found.files, left_out)
        if unknown := sorted(set(names) - {model for model, _ in files}):
            raise InvalidInput(
                f"--models {','.join(unknown)}: {folder} has {', '.join(sorted({model for model, _ in files})) or 'none'}"
            )
    there = sorted({word for _, word in files})
    if unknown := sorted(set(quants) - set(there)):
        raise InvalidInput(f"--quants {','.join(unknown)}: there are {', '.join(there) or 'none'}")
    kept = {
        key: file for key, file in files.items() if (not names or key[0] in names) and (not quants or key[1] in quants)
    }
    if not kept:
        raise InvalidInput(
            "no model file is left to be run; see tokenmark models scan, and what --models and --quants leave"
        )
    return Chosen([candidate_of(*key, file) for key, file in kept.items()], kept, [*left_out, *found.broken.values()])


def _by_their_own_names(found: Sequence[ModelFile], left_out: list[str]) -> dict[tuple[str, str], ModelFile]:
    files: dict[tuple[str, str], ModelFile] = {}
    for file in found:
        name = as_name(file.name or "") or as_name(file.path.stem) or f"model-{identity(file.path)[:6]}"
        key = name, file.quantization
        if (other := files.setdefault(key, file)) is not file:
            left_out.append(f"{file.path} is left out: {other.path} is {file.quantization} of the same model")
    return files


def candidate_of(model: str, quantization: str, file: ModelFile) -> Candidate:
    return Candidate(model, quantization, file.size_bytes, file.parameters, file.context, identity(file.path))


def identity(path: Path) -> str:
    """Of a file's size, its beginning and its end: what a model says of itself stands at the beginning, and gigabytes need not be read to tell two
    quantisations apart. Raises InvalidInput where it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.sha256(f"{size}:".encode() + file.read(EDGE_BYTES))
            file.seek(max(0, size - EDGE_BYTES))
            digest.update(file.read(EDGE_BYTES))
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror}") from exc
    return digest.hexdigest()[:16]


def choose_variants(
    threads: Sequence[str], gpu_layers: Sequence[str], contexts: Sequence[str], usual: int
) -> list[Variant]:
    """Each with each. Raises InvalidInput for what is no number."""
    layers: list[int | None] = [*_numbers("--gpu-layers", gpu_layers, least=0)] or [None]
    kept: list[int | None] = [*_numbers("--contexts", contexts, least=256)] or [None]
    counts = _numbers("--threads", threads, least=1) or [usual]
    return [Variant(*each) for each in product(counts, layers, kept)]


def _numbers(flag: str, words: Sequence[str], *, least: int) -> list[int]:
    if wrong := [word for word in words if not (word.isascii() and word.isdigit() and int(word) >= least)]:
        raise InvalidInput(f"{flag} {','.join(wrong)}: whole numbers from {least} on, with commas between")
    return list(dict.fromkeys(map(int, words)))


def choose_profiles(known: Sequence[Profile], names: Sequence[str], *, quality: bool, stress: bool) -> list[Profile]:
    """Raises InvalidInput for a name that is none, and where none is left."""
    by_name = {each.name: each for each in known}
    if unknown := [name for name in names if name not in by_name]:
        raise InvalidInput(f"--profiles {','.join(unknown)}: there are {', '.join(by_name)}")
    left = [by_name[name] for name in names] or [each for each in known if not each.on_request]
    left = [
        each for each in left if (quality or each.kind not in ("quality", "code")) and (stress or each.kind != "stress")
    ]
    if not left:
        raise InvalidInput("no profile is left; see --profiles, --skip-quality and --skip-stress")
    return left
