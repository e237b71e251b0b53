"""A kind as a row: what the core needs to know of it, and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .facts import Decision, Facts, Key

Gather = Callable[[Any, dict[str, Any], Key], Awaitable[Facts]]


@dataclass(frozen=True)
class Right:
    """What may be done with a resource; a row of a Role."""

    group: str
    resource: str
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """`gather` reads the facts of one object, `decide` (pure) makes one step of them. `blocks` tells whether two objects of
    this kind may be in each other's way, so that the end of one wakes the other. `label` names the owner on its children, `needs` what is done to them."""

    name: str
    plural: str
    label: str
    gather: Gather
    decide: Callable[[Any], Decision]
    blocks: Callable[[dict[str, Any], dict[str, Any]], bool]
    needs: tuple[Right, ...]
