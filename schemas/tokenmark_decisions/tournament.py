"""Every pair of N players once, in rounds of disjoint pairs: N - 1 rounds, N where N is odd, by the circle method (pure).

Two rounds together are a ring, and a ring that is walked gives every player both roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def tournament(players: Sequence[T]) -> list[list[tuple[T, T]]]:
    """Empty of fewer than two. Players are told apart by identity. Two rounds give each of them both roles (of an odd number,
    all but the two that sit one of them out)."""
    if len(players) < 2:
        return []
    seats: list[T | None] = [*players, *([None] if len(players) % 2 else [])]
    turning = len(seats) - 1
    rounds = []
    for number in range(turning):
        met = [(seats[turning], seats[number])]
        met += [(seats[(number + i) % turning], seats[(number - i) % turning]) for i in range(1, len(seats) // 2)]
        rounds.append([(a, b) for a, b in met if a is not None and b is not None])
    return [pairs for at in range(0, len(rounds), 2) for pairs in _walked(rounds[at : at + 2])]


def _walked(rounds: list[list[tuple[T, T]]]) -> list[list[tuple[T, T]]]:
    """One or two rounds, each pair in the direction in which the ring that they form is walked."""
    directed: list[list[tuple[T, T]]] = [[] for _ in rounds]
    left = [{id(player): pair for pair in pairs for player in pair} for pairs in rounds]
    for start in (pair[0] for pairs in rounds for pair in pairs):
        player, at = start, 0
        while id(player) in left[at]:
            a, b = left[at].pop(id(player))
            other = b if player is a else a
            del left[at][id(other)]
            directed[at].append((player, other))
            player, at = other, (at + 1) % len(rounds)
    return directed
