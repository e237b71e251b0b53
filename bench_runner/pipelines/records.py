"""Records of a seed: the same on every machine, with what the nearest vectors are computed exactly, not asked of the server.

`RandomState` is NumPy's frozen generator: its numbers stay the same from release to release.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tokenmark_schemas.database import Records
from tokenmark_schemas.errors import InvalidInput, RunFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MOST_BYTES = 2 * 2**30  # of vectors, in this process's memory
SPREAD, ASKED_SPREAD = 0.3, 0.35  # of a cluster, where centres lie 1 apart in each dimension
FAR = 1000.0  # in the first dimension: what is added while searches run is never among the nearest
CHUNK = 65_536
LETTERS = "abcdefghijklmnopqrstuvwxyz "


class RecordSet:
    """Ids are 0 to count - 1. Raises InvalidInput where its vectors would not fit, or NumPy is missing."""

    def __init__(self, spec: Records) -> None:
        self.spec = spec
        if importlib.util.find_spec("numpy") is None:
            raise InvalidInput("databases need two more packages: pip install 'tokenmark[databases]'")
        if spec.count * spec.dimensions * 4 > MOST_BYTES:
            raise InvalidInput(
                f"dataset.records: {spec.count} vectors of {spec.dimensions} dimensions are above 2 GiB; ask for fewer"
            )

    @cached_property
    def vectors(self) -> Floats:
        """(count, dimensions)."""
        import numpy as np

        spec, random = self.spec, np.random.RandomState(self.spec.seed)
        which = random.randint(0, len(self._centres), spec.count)
        found: Floats = np.empty((spec.count, spec.dimensions), np.float32)
        for at in range(0, spec.count, CHUNK):  # in pieces: doubles of all of them would take twice the room again
            part = which[at : at + CHUNK]
            noise = random.standard_normal((len(part), spec.dimensions)).astype(np.float32)
            found[at : at + CHUNK] = self._centres[part] + np.float32(SPREAD) * noise
        return found

    @cached_property
    def asked(self) -> Floats:
        """(queries, dimensions): near the clusters, and none of the records."""
        import numpy as np

        spec, random = self.spec, np.random.RandomState(self.spec.seed + 1)
        which = random.randint(0, len(self._centres), spec.queries)
        noise = random.standard_normal((spec.queries, spec.dimensions)).astype(np.float32)
        found: Floats = self._centres[which] + np.float32(ASKED_SPREAD) * noise
        return found

    @cached_property
    def _centres(self) -> Floats:
        import numpy as np

        clusters = max(1, math.isqrt(self.spec.count) // 2)
        found: Floats = (
            np.random.RandomState(self.spec.seed + 2)
            .standard_normal((clusters, self.spec.dimensions))
            .astype(np.float32)
        )
        return found

    def added(self, query: int) -> Floats:
        """A vector for a new record: a query's, moved far away."""
        moved: Floats = self.asked[query].copy()
        moved[0] += FAR
        return moved

    def category(self, number: int) -> int:
        return number % self.spec.categories

    def asked_category(self, query: int) -> int:
        """Of a filtered search: each query has its own."""
        return query % self.spec.categories

    def payload(self, number: int) -> str:
        """Text of the stated length, another for nearly every record."""
        head = f"{number:x} "
        return (head + LETTERS * (1 + self.spec.payload_bytes // len(LETTERS)))[: self.spec.payload_bytes]

    def nearest(
        self, k: int, *, filtered: bool = False, stopped: Callable[[], bool] = lambda: False
    ) -> list[frozenset[int]]:
        """For each query the ids of the k nearest records, all of them looked at; of its category alone where it is filtered.
        Raises RunFailed where it is told to stop."""
        return [frozenset(found) for found in self._nearest(k, filtered, stopped)]

    def _nearest(self, k: int, filtered: bool, stopped: Callable[[], bool]) -> Iterator[Sequence[int]]:
        import numpy as np

        categories = np.arange(self.spec.count) % self.spec.categories
        everything = np.arange(self.spec.count)
        for query, vector in enumerate(self.asked):
            if stopped():
                raise RunFailed("stopped while the nearest vectors were worked out")
            ids = everything[categories == self.asked_category(query)] if filtered else everything
            parts = [self._distances(ids[at : at + CHUNK], vector) for at in range(0, len(ids), CHUNK)]
            distances = np.concatenate(parts) if parts else np.empty(0)
            kept = np.argpartition(distances, k - 1)[:k] if len(ids) > k else slice(None)
            yield [int(each) for each in ids[kept]]

    def _distances(self, ids: NDArray[np.int64], vector: Floats) -> Floats:
        """Squared."""
        apart = self.vectors[ids] - vector
        found: Floats = (apart * apart).sum(axis=1)
        return found
