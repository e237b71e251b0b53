"""`tokenmark baseline`: declare a run what later ones are held to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Literal

import typer

from tokenmark_schemas.errors import InvalidInput

baseline = typer.Typer(
    help="Runs that later ones are held to: set, list, show. Every promotion is kept; the newest one counts.",
    no_args_is_help=True,
)
WHERE = typer.Option(
    "baselines",
    "--in",
    help="A folder, s3://bucket/prefix (gs://, az://), or namespace:NAME of the cluster.",
    envvar="TOKENMARK_BASELINES",
    show_envvar=False,
)
ENDPOINT = typer.Option(None, "--store-endpoint", help="Address of a store that speaks S3.")
REGION = typer.Option(None, "--store-region", help="Region of the store.")


@baseline.command("set")
def set_(
    name: str = typer.Argument(..., help="What it will be called."),
    run: str = typer.Argument(..., help="A run's folder or result.json, a store's address, or NAMESPACE/NAME."),
    category: Literal["Storage", "Retrieval", "Inference"] = typer.Option(
        "Inference", help="What kind of system was measured."
    ),
    why: str = typer.Option("", help="Why this one; kept with it."),
    min_repetitions: int = typer.Option(3, min=3, max=50, help="Fewer are refused."),
    where: str = WHERE,
    endpoint: str | None = ENDPOINT,
    region: str | None = REGION,
) -> None:
    """Promote a run: its verdict must be valid, its repetitions enough. Compare with it as baseline:NAME."""
    from pydantic import ValidationError

    from tokenmark_schemas.baseline import Promotion

    from ..config.sources import baselines_at, find_result

    result = find_result(run, endpoint, region)
    if result.verdict.state != "valid" or result.run.interrupted:
        raise InvalidInput(
            f"{run} is {'interrupted' if result.run.interrupted else result.verdict.state}: only a valid run becomes a baseline"
        )
    if result.run.repetitions < min_repetitions:
        raise InvalidInput(
            f"{run} has {result.run.repetitions} repetitions; a baseline needs {min_repetitions} to know its spread"
        )
    try:
        promotion = Promotion(
            name=name, category=category, promoted_at=_now(), why=why, source=run, run=result.run.name, started_at=result.run.started_at,
            provider=result.provenance.environment.get("provider"), fingerprint=result.provenance.fingerprint, kept_as="",
        )  # fmt: skip
    except ValidationError:
        raise InvalidInput(f"{name}: a baseline is named in small letters, digits and dashes, 40 at most") from None
    kept = baselines_at(where, endpoint, region).put(promotion, result)
    print(f"{name} is now {kept.run} of {kept.started_at}; kept as {kept.kept_as}")


@baseline.command("list")
def list_(
    category: Literal["Storage", "Retrieval", "Inference"] | None = typer.Option(None, help="Only these."),
    where: str = WHERE,
    endpoint: str | None = ENDPOINT,
    region: str | None = REGION,
) -> None:
    """The newest promotion of every name, and how many came before."""
    from ..config.sources import baselines_at

    found = baselines_at(where, endpoint, region).promotions()
    newest = {each.name: each for each in found if category in (None, each.category)}
    for name, each in sorted(newest.items()):
        earlier = sum(other.name == name for other in found) - 1
        more = f"  ({earlier} before)" if earlier else ""
        print(
            f"{name:<24} {each.category:<10} {each.run} of {each.started_at[:16]}  {each.provider or '–'}  {each.fingerprint[:12]}{more}"
        )


@baseline.command()
def show(
    name: str = typer.Argument(..., help="A baseline."),
    where: str = WHERE,
    endpoint: str | None = ENDPOINT,
    region: str | None = REGION,
) -> None:
    """Every promotion of a name, the newest last, as JSON."""
    from ..config.sources import baselines_at

    place = baselines_at(where, endpoint, region)
    place.newest(name)
    print(json.dumps([each.snake() for each in place.promotions() if each.name == name], indent=2))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
