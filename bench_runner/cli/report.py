"""`tokenmark report`: a run, or several side by side, as a page that can be sent to somebody."""

from __future__ import annotations

from pathlib import Path

import typer


def report(
    runs: list[str] = typer.Argument(
        ...,
        help="A run's folder or result.json, a store's address, NAMESPACE/NAME, or baseline:NAME; several stand side by side.",
    ),
    out: Path = typer.Option(Path("report"), help="Folder for report.html, report.md, summary.json, metrics.csv."),
    plots: bool = typer.Option(False, "--plots", help="Also draw plots/*.png and *.svg; needs tokenmark[plots]."),
    baselines: str = typer.Option(
        "baselines", help="Where baseline:NAME is kept.", envvar="TOKENMARK_BASELINES", show_envvar=False
    ),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """Write a run as a page to be sent around.

    One self-contained HTML file, and the same as Markdown, JSON and CSV; several runs stand side by side.
    """
    from ..config.sources import find_result
    from ..reports.page.files import Run, report_files
    from ..storage.text_file import write_bytes, write_text

    found = []
    for source in runs:
        log = Path(source) / "requests.jsonl.gz"
        found.append(
            Run(source, find_result(source, store_endpoint, store_region, baselines), log if log.is_file() else None)
        )
    for name, text in report_files(found).items():
        write_text(out / name, text, f"--out {out}")
        print(out / name)
    if plots:
        from ..reports.plots import plot_files

        for name, picture in plot_files(found).items():
            write_bytes(out / "plots" / name, picture, f"--out {out}")
            print(out / "plots" / name)
