"""`tokenmark import`: another tool's result as one of ours, with verdict `unknown`."""

from __future__ import annotations

from pathlib import Path

import typer

from tokenmark_schemas.errors import InvalidInput

MOST_BYTES = 2**30


def import_(
    files: list[Path] = typer.Argument(..., help="Result files of one tool and one load; several are repetitions."),
    tool: str | None = typer.Option(
        None, "--from", help="guidellm, aiperf, vllm, inference-perf, llama-bench or k6; told by the file if unsaid."
    ),
    name: str | None = typer.Option(None, help="Name of the run; that of the first file if unsaid."),
    out: Path = typer.Option(
        Path("results"), help="The result lies in OUT/NAME.", envvar="TOKENMARK_OUT", show_envvar=False
    ),
    engine: str | None = typer.Option(None, help="Recorded in the result, where the file does not tell it."),
    provider: str | None = typer.Option(None, help="Recorded in the result, compared in dashboards."),
    region: str | None = typer.Option(None, help="Recorded in the result."),
    one_work: bool = typer.Option(
        False, "--one-work", help="Files that do not tell their load (k6, AIPerf's .jsonl) are repetitions of one."
    ),
) -> None:
    """Take over a result of GuideLLM, AIPerf, vLLM bench, inference-perf, llama-bench or k6.

    What the file does not tell is null; what its words mean in this tool's is noted in the result, or refused. The verdict is
    unknown, for nobody measured that client's error: `tokenmark compare` takes such a run with --force alone.
    """
    import re

    from pydantic import ValidationError
    from rich.console import Console

    from ..config.overrides import NAME
    from ..formats.importing.assemble import imported_result
    from ..formats.importing.found import label
    from ..formats.importing.registry import NAMES, read_foreign
    from ..reports.table import print_result
    from ..storage.run_folder import run_folder, write_result

    if tool is not None and tool not in NAMES:
        raise InvalidInput(f"--from {tool}: choose {', '.join(NAMES)}")
    name = name or label(files[0].stem)[:48].strip("-")
    if not re.fullmatch(NAME, name):
        raise InvalidInput(f"--name {name}: use lower-case letters, digits and dashes, at most 48")
    held = {str(path): _bytes(path) for path in files}
    found = [read_foreign(content, path, tool) for path, content in held.items()]
    place = {key: said for key, said in (("provider", provider), ("region", region)) if said}
    by_name = {Path(path).name if len({p.name for p in files}) == len(files) else path: c for path, c in held.items()}
    try:
        result = imported_result(name, by_name, found, place, one_work=one_work)
    except ValidationError as exc:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in exc.errors(include_url=False)[:3]
        )
        raise InvalidInput(f"{files[0]} is not as its tool writes it: {wrong}") from exc
    if engine and found[0].engine is None:
        provenance = result.provenance
        named = provenance.engine.model_copy(update={"name": engine})
        result = result.model_copy(update={"provenance": provenance.model_copy(update={"engine": named})})
    folder = run_folder(out, name)
    write_result(folder, result)
    print_result(result)
    console = Console()
    assert result.imported is not None
    for metric, meaning in result.imported.definitions.items():
        console.print(f"  {metric}: {meaning}", style="dim", highlight=False)
    for word, why in result.imported.refused.items():
        console.print(f"  not taken over: {word}: {why}", style="dim", highlight=False)
    console.print(f"\n{folder}/result.json", highlight=False)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InvalidInput(f"{path} is larger than {MOST_BYTES // 2**30} GiB; that is no result")
        return path.read_bytes()
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror}") from exc
