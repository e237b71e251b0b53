"""`tokenmark results`: put what a run left into an object store, later; print a run as one flat record."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import typer

from tokenmark_schemas.errors import InvalidInput, RunFailed

results = typer.Typer(
    help="Results of earlier runs: push them into an object store, print their record.", no_args_is_help=True
)
SOURCE = "A run's folder, a kept log (kubectl logs job/NAME), a result ConfigMap (kubectl get configmap -o yaml), or - for either on stdin."


@results.command()
def push(
    source: str = typer.Argument(..., help=SOURCE),
    store: list[str] = typer.Option(
        [],
        help="s3://bucket/prefix, gs://…, az://…, or a folder; may stand several times.",
        envvar="TOKENMARK_STORE",
        show_envvar=False,
    ),
    endpoint: str | None = typer.Option(None, "--store-endpoint", help="Address of a store that speaks S3."),
    region: str | None = typer.Option(None, "--store-region", help="Region of the store."),
    ca_file: Path | None = typer.Option(None, "--store-ca-file", help="PEM file of the store's authorities."),
    key_template: str | None = typer.Option(None, help="Where under the prefix the files go."),
    sinks: Path | None = typer.Option(
        None, help="Stores as the operator writes them; the receipt is a frame.", hidden=True
    ),
    sha256: str | None = typer.Option(None, help="What the source has to be.", hidden=True),
    deadline: int | None = typer.Option(
        None, "--store-deadline", help="Seconds to try; 300 if unsaid.", min=10, max=3600
    ),
) -> None:
    """Put a run's files into an object store, as the run itself would have.

    Credentials come from the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    from tokenmark_schemas.store import RECEIPTS

    from ..config.stores import read_sinks, stores_of
    from ..run.delivery import deliver
    from ..run.kept import read_kept
    from ..storage.pod_frames import write_frames

    if sha256 is not None and hashlib.sha256(Path(source).read_bytes()).hexdigest() != sha256:
        raise InvalidInput(f"{source} is not the result that it should be; an earlier object of that name had another")
    files = read_kept(source)
    named = read_sinks(sinks) if sinks else stores_of(store, endpoint, region, key_template, deadline, ca_file)
    if not named:
        raise InvalidInput("--store is missing: say where to, such as --store s3://bucket/prefix or a folder")
    receipts = deliver(files, named)
    if sinks:
        write_frames(RECEIPTS, receipts.model_dump_json().encode())
    for receipt in receipts.stores:
        for found in receipt.objects:
            print(f"{found.url}/{found.key}  {found.size_bytes} bytes  sha256 {found.sha256[:12]}")
        if not receipt.stored:
            print(f"tokenmark: {receipt.uri}: {receipt.reason}: {receipt.message}", file=sys.stderr)
    if not all(receipt.stored for receipt in receipts.stores):
        raise typer.Exit(RunFailed.exit_code)


@results.command()
def record(
    source: str = typer.Argument(..., help=SOURCE),
    into: Path | None = typer.Option(
        None, help="Write it there as benchmarks/ns/PROVIDER/TIME.json, where scripts look for it."
    ),
) -> None:
    """Print a run as one flat JSON record (benchmark-output/v1)."""
    from ..formats.north_south import north_south
    from ..run.delivery import RunFiles
    from ..run.kept import read_kept
    from ..storage.object_keys import record_key
    from ..storage.text_file import write_text

    files = read_kept(source)
    if not isinstance(files, RunFiles):
        raise InvalidInput(f"{source} is a probe; its document is its record")
    text = json.dumps(north_south(files.result, files.config).snake(), indent=2)
    if into is None:
        print(text)
        return
    path = into / record_key("ns", files.result.provenance.environment.get("provider"), files.result.run.started_at)
    write_text(path, text + "\n", f"--into {into}")
    print(path)
