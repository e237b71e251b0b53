"""Which call is made when: by weight, decided beforehand, the same for every server.

A cycle of choices is drawn once from the seed; a phase begins somewhere in it by its salt. Choosing costs two look-ups a call.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tokenmark_schemas.database import SEARCHES, Operation

from .records import RecordSet

CYCLE = 16_381  # a prime: no count of records or operations falls into step with it


class Call(NamedTuple):
    """Of which operation, on which record, with which query's vector, and the id that it adds."""

    operation: int
    record: int
    query: int
    new: int


class Mix:
    def __init__(self, operations: Sequence[Operation], records: RecordSet, seed: int) -> None:
        self.operations, self.records = operations, records
        draw = random.Random(f"calls:{seed}")
        weights = [operation.weight for operation in operations]
        self._which = draw.choices(range(len(operations)), weights, k=CYCLE)
        self.truth: dict[int, list[frozenset[int]]] = {}
        self._records = [draw.randrange(records.spec.count) for _ in range(CYCLE)]

    def call(self, seq: int, begins: int) -> Call:
        at = (begins + seq) % CYCLE
        new = self.records.spec.count + ((begins & 0x3FFFFFFF) << 32) + seq
        return Call(self._which[at], self._records[at], (begins + seq) % self.records.spec.queries, new)

    @staticmethod
    def begins(salt: str) -> int:
        """Where a phase's calls begin in the cycle."""
        return zlib.crc32(salt.encode())

    def know(self, stopped: Callable[[], bool]) -> None:
        """What each query of every operation that searches should find. Raises RunFailed where it is told to stop."""
        self.truth = {
            number: self.records.nearest(operation.k, filtered=operation.kind == "FilteredSearch", stopped=stopped)
            for number, operation in enumerate(self.operations)
            if operation.kind in SEARCHES
        }

    def recall(self, call: Call, found: Sequence[int]) -> float | None:
        """Of the nearest, the share that was found; None of what is no search, and of a query that nothing answers."""
        truth = self.truth.get(call.operation)
        if truth is None or not truth[call.query]:
            return None
        return len(truth[call.query].intersection(found)) / len(truth[call.query])
