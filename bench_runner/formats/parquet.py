"""Rows as one Parquet file, in batches, so that a million requests need no memory of their own. The library is an extra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput

from .tables import Row

BATCH = 50_000


def write_parquet(path: Path, columns: Mapping[str, type], rows: Iterable[Row]) -> None:
    """Raises InvalidInput without pyarrow, and where the file cannot be written."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidInput(
            "--format parquet needs pyarrow: pip install 'tokenmark[parquet]'; csv and jsonl do not"
        ) from None
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    left = iter(rows)
    try:
        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as file:
            while batch := list(islice(left, BATCH)):
                file.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    except OSError as exc:
        raise InvalidInput(f"--out {path}: {exc.strerror or exc}") from exc
