"""YAML and JSON documents -> models, with the line of every mistake.

Reads any document Tokenmark knows (BenchmarkRun, NetProbe, workload, run config, run result) and built-in workloads.
"""

from __future__ import annotations

import difflib
import importlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import InvalidInput
from .problems import Problem, problems_of
from .workload import Workload

if TYPE_CHECKING:
    from .cost import CostFile
    from .profiles import ProfilesFile
    from .quality import QualityTests
    from .ratings import RatingFile

Model = TypeVar("Model", bound=BaseModel)
MAX_DOCUMENT_BYTES = 64 * 2**20
MAX_PROFILES_CHARACTERS = 262_144
MAX_DEPTH = 64
MAX_ALIASES = 200
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# where each lies, so that reading one does not build them all
KINDS = {
    "BenchmarkRun": "benchmarkrun.BenchmarkRun",
    "NetProbe": "netprobe.NetProbe",
    "BenchmarkSchedule": "schedule.BenchmarkSchedule",
    "BenchmarkSweep": "sweep.BenchmarkSweep",
    "BenchmarkMatrix": "matrix_object.BenchmarkMatrix",
}
VERSIONS = {
    "workload/v1": "workload.Workload",
    "cost/v1": "cost.CostFile",
    "ratings/v1": "ratings.RatingFile",
    "quality-tests/v1": "quality.QualityTests",
    "profiles/v1": "profiles.ProfilesFile",
    "code-answers/v1": "quality.CodeAnswers",
    "matrix-result/v1": "matrix.MatrixResult",
    "engines/v1": "engines.EnginesFile",
    "recipe/v1": "recipe.Recipe",
    "models/v1": "local_models.ModelsFile",
    "run-config/v1": "run.RunConfig",
    "run-result/v1": "result.RunResult",
    "netprobe-result/v1": "netprobe.NetProbeResult",
}


def _model(place: str) -> type[BaseModel]:
    module, name = place.split(".")
    found: type[BaseModel] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found


def read_text(path: str | os.PathLike[str]) -> str:
    """A file's text. Raises InvalidInput when it is missing, unreadable, too large or not UTF-8."""
    try:
        if Path(path).stat().st_size > MAX_DOCUMENT_BYTES:
            raise InvalidInput(
                f"{path} is larger than {MAX_DOCUMENT_BYTES // 2**20} MiB; that is no Tokenmark document"
            )
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{path} cannot be read: {reason}") from exc


def load_documents(text: str, source: str) -> list[tuple[Any, yaml.Node]]:
    """Every document of a YAML or JSON text with its node tree, which knows the lines."""
    try:
        _bounded(text, source)
        pairs = zip(yaml.load_all(text, Loader=_LOADER), yaml.compose_all(text, Loader=_LOADER), strict=True)
        found = [(value, node) for value, node in pairs if value is not None and node is not None]
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise InvalidInput(f"{where}: not YAML: {getattr(exc, 'problem', None) or 'syntax error'}") from None
    except (ValueError, OverflowError) as exc:  # a date that is none, a number beyond bounds
        raise InvalidInput(f"{source}: holds a value that YAML cannot read: {exc}") from None
    if not found:
        raise InvalidInput(f"{source} holds no document")
    for _, node in found:
        _refuse_twins(node, source, set())
    return found


def _bounded(text: str, source: str) -> None:
    """Looks at the events before anything is built: the loader recurses in C, and merge keys multiply."""
    depth = aliases = 0
    for event in _events(text, source):
        line = event.start_mark.line + 1 if event.start_mark else 0
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > MAX_DEPTH:
            raise InvalidInput(f"{source}:{line}: nested more than {MAX_DEPTH} deep; that is no Tokenmark document")
        if aliases > MAX_ALIASES:
            raise InvalidInput(f"{source}:{line}: more than {MAX_ALIASES} aliases; write the values out")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise InvalidInput(f"{source}:{line}: merge keys (<<) are not taken; write the members out")


def _events(text: str, source: str) -> Iterator[yaml.Event]:
    """The parser's events. Brackets in one run are scanned ahead of the first event, and releases of the library differ in
    where they give up on them and in what they say: where it does, the brackets are counted here."""
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        levels = itertools.accumulate((1 if found in "[{" else -1) for found in re.findall(r"[\[\]{}]", text))
        if max(levels, default=0) > MAX_DEPTH:
            line = f"{mark.line + 1}:" if mark else ""
            raise InvalidInput(
                f"{source}:{line} nested more than {MAX_DEPTH} deep; that is no Tokenmark document"
            ) from exc
        raise


def _refuse_twins(node: yaml.Node, source: str, seen: set[int]) -> None:
    """YAML's last one would win in silence; kubectl refuses a key that stands twice, and so do we."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                raise InvalidInput(f"{source}:{key.start_mark.line + 1}: {key.value}: stands twice; keep one of them")
            keys.add(key.value)
    for part in node.value:
        for child in part if isinstance(part, tuple) else (part,):
            _refuse_twins(child, source, seen)


def model_for(document: Any, source: str) -> type[BaseModel]:
    """Which contract a document claims to be. Raises InvalidInput when it claims none of ours."""
    if not isinstance(document, dict):
        raise InvalidInput(f"{source}: expected a mapping at the top, found {type(document).__name__}")
    if "kind" in document:
        kind = str(document["kind"])
        if kind in KINDS:
            return _model(KINDS[kind])
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known kinds: {', '.join(KINDS)}"
        raise InvalidInput(f"{source}: kind: {kind!r} is not a Tokenmark kind{hint}")
    version = str(document.get("schema_version", document.get("schemaVersion", "")))
    if version in VERSIONS:
        return _model(VERSIONS[version])
    raise InvalidInput(
        f"{source}: neither kind ({', '.join(KINDS)}) nor schema_version ({', '.join(VERSIONS)}) tells what this is"
    )


def parse(document: Any, node: yaml.Node | None, source: str) -> BaseModel:
    """One document -> its model. Raises InvalidInput with a line a problem."""
    model = model_for(document, source)
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        lines = [_located(problem, node, source) for problem in problems_of(exc, model)]
        raise InvalidInput("\n".join(dict.fromkeys(lines))) from None


def parse_costs(text: str, source: str) -> CostFile:
    """Prices, checked. Raises InvalidInput where it is another document."""
    from .cost import CostFile

    return _the_one(text, source, CostFile, "prices are a file with schemaVersion cost/v1")


def parse_profiles(text: str, source: str) -> ProfilesFile:
    """Uses of a ConfigMap, checked. Raises InvalidInput where it is another document, or too large for one."""
    from .profiles import ProfilesFile

    if len(text) > MAX_PROFILES_CHARACTERS:
        raise InvalidInput(f"{source} has {len(text)} characters; {MAX_PROFILES_CHARACTERS} are the most")
    return _the_one(text, source, ProfilesFile, "uses are a file with schemaVersion profiles/v1")


def _the_one(text: str, source: str, kind: type[Model], said: str) -> Model:
    document, node = load_documents(text, source)[0]
    found = parse(document, node, source)
    if not isinstance(found, kind):
        raise InvalidInput(f"{source} is a {type(found).__name__}; {said}")
    return found


def read_ratings(path: Path | None) -> RatingFile:
    """Limits of a person's own, or those that ship. Raises InvalidInput where it is another document."""
    from .ratings import RatingFile

    path = path or next(found for folder in _workload_folders() if (found := folder / "ratings" / "v1.yaml").is_file())
    return read_model(path, RatingFile, "file of ratings", "ratings/v1")


def read_profiles(path: Path | None) -> ProfilesFile:
    """Uses of a person's own, or those that ship. Raises InvalidInput where it is another document."""
    from .profiles import ProfilesFile

    path = path or next(found for folder in _workload_folders() if (found := folder / "profiles" / "v1.yaml").is_file())
    return read_model(path, ProfilesFile, "file of profiles", "profiles/v1")


def read_tests(name: str, version: int) -> QualityTests:
    """Tests that ship with Tokenmark. Raises InvalidInput where there are none of that name and version."""
    from .quality import QualityTests

    paths = [
        path
        for folder in _workload_folders()
        if folder.is_dir()
        for path in sorted((folder / "quality").glob("*.json"))
    ]
    known = [read_model(path, QualityTests, "file of quality tests", "quality-tests/v1") for path in paths]
    if found := next((each for each in known if (each.name, each.version) == (name, version)), None):
        return found
    there = ", ".join(sorted({f"{each.name} version {each.version}" for each in known}))
    raise InvalidInput(f"there are no built-in tests {name!r} of version {version}; known: {there}")


def read_model(path: Path, kind: type[Model], what: str, version: str) -> Model:
    """The one document of a file that is to be `what`. Raises InvalidInput where it is another."""
    model = read_models(path)[0]
    if not isinstance(model, kind):
        raise InvalidInput(f"{path} is no {what}; it needs schemaVersion: {version}")
    return model


def read_models(path: str | os.PathLike[str]) -> list[BaseModel]:
    """Every document of a file, checked."""
    return [parse(value, node, str(path)) for value, node in load_documents(read_text(path), str(path))]


def _located(problem: Problem, node: yaml.Node | None, source: str) -> str:
    line = line_of(node, problem.path) if node is not None else None
    return f"{source}:{line}: {problem}" if line else f"{source}: {problem}"


def line_of(node: yaml.Node, path: tuple[str | int, ...]) -> int | None:
    """The line (from 1) of the deepest part of `path` that the document has."""
    line = node.start_mark.line + 1
    current: yaml.Node | None = node
    for part in path:
        current, found = _step(current, part)
        if current is None:
            break
        line = found
    return line


def _step(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, int]:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part or str(key.value).replace("_", "").lower() == str(part).lower():
                return value, key.start_mark.line + 1
    return None, 0


def _workload_folders() -> Iterator[Path]:
    here = Path(__file__).resolve().parent
    yield here / "builtin_workloads"
    yield here.parent.parent / "workloads"


def builtin_folder(name: str) -> Path:
    """One that ships beside the workloads."""
    return next(found for folder in _workload_folders() if (found := folder / name).is_dir())


def builtin_workloads() -> dict[str, Path]:
    """Name -> file of every workload that ships with Tokenmark."""
    for folder in _workload_folders():
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def read_workload(name_or_path: str) -> Workload:
    """A built-in workload by name, or a workload file. Raises InvalidInput with the nearest known name."""
    known = builtin_workloads()
    if name_or_path in known:
        path: str | Path = known[name_or_path]
    elif "/" in name_or_path or name_or_path.endswith((".yaml", ".yml", ".json")):
        path = name_or_path
    else:
        near = difflib.get_close_matches(name_or_path, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise InvalidInput(f"there is no built-in workload {name_or_path!r}; {hint}")
    model = read_models(path)[0]
    if not isinstance(model, Workload):
        raise InvalidInput(f"{path} is no workload file; it needs schemaVersion: workload/v1")
    return model
