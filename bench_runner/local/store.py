"""The model files of a machine, told by what they say of themselves, and the models of a list that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.local_models import ListedModel, ModelsFile, plain

from .gguf_file import ModelFile, NotByItself, can_read, contradicts, read_model_file

MOST_FILES = 2000


@dataclass(frozen=True)
class Found:
    """What a folder holds: whole models in order of path, why others are none, and files that are something else."""

    files: list[ModelFile]
    broken: dict[Path, str] = field(default_factory=dict)
    others: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """A model of the list and its files by quantisation; `missing` could be got, `problems` say what is wrong."""

    model: ListedModel
    files: dict[str, ModelFile]
    missing: tuple[str, ...]
    problems: tuple[str, ...]


def scan(folder: Path) -> Found:
    """Every *.gguf below a folder. Raises InvalidInput where there is none, or where there are too many."""
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder} is no folder; name one with model files: modelDir of models.yaml, or the argument"
        )
    paths = sorted(path for path in folder.rglob("*.gguf") if path.is_file())
    if len(paths) > MOST_FILES:
        raise InvalidInput(
            f"{folder} holds {len(paths)} model files; {MOST_FILES} are the most: name a folder below it"
        )
    files, broken, others = list[ModelFile](), dict[Path, str](), dict[Path, str]()
    can_read()
    for path in paths:
        try:
            files.append(read_model_file(path))
        except NotByItself as exc:
            others[path] = str(exc)
        except InvalidInput as exc:
            broken[path] = str(exc)
    return Found(files, broken, others)


def held(listed: ModelsFile, found: Found, folder: Path) -> list[Held]:
    """Each model of the list with its files."""
    return [_held(model, found, folder) for model in listed.models]


def unlisted(listed: ModelsFile, found: Found, folder: Path) -> list[ModelFile]:
    """Whole files that no model of the list has."""
    taken = {file.path for each in held(listed, found, folder) for file in each.files.values()}
    return [file for file in found.files if file.path not in taken]


def _held(model: ListedModel, found: Found, folder: Path) -> Held:
    files, problems = dict[str, ModelFile](), list[str]()
    by_path = {file.path: file for file in found.files}
    pulled = (
        {word: each.place for word, each in model.hub.files.items() if (folder / each.place).exists()}
        if model.hub
        else {}
    )
    for word, place in {**pulled, **model.files}.items():
        path = folder / place
        if (file := by_path.get(path)) is None:
            problems.append(found.broken.get(path) or found.others.get(path) or f"{path} does not exist")
        elif contradicts(file, word):
            problems.append(f"{path} is {file.quantization}, not {word}")
        else:
            files[word] = file
    names = {plain(said) for said in (model.name, *model.also_called)}
    for file in found.files:
        if not names & set(map(plain, file.called)) or file.path in {each.path for each in files.values()}:
            continue
        if (other := files.setdefault(file.quantization, file)) is not file:
            problems.append(f"{file.path} is left out: {other.path} is {file.quantization} of the same model")
    wanted = (model.hub.files if model.hub else {}) | model.files
    return Held(model, files, tuple(word for word in wanted if word not in files), tuple(problems))


def chosen(models: Sequence[Held], names: Sequence[str]) -> list[Held]:
    """Of the list by name. Raises InvalidInput for one that is not in it."""
    known = {each.model.name: each for each in models}
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(f"not in the list of models: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(models)
