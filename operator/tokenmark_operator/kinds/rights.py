"""What the operator may do, from the kinds' rows -> the chart's templates: `python -m tokenmark_operator.kinds.rights ROOT`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.controller import API_VERSION
from ..shared.kind import Kind, Right
from .registry import KINDS

FILE = Path("deploy/helm/tokenmark/templates/_rules.tpl")
EMPTY = '""'
OWN = (("", ("get", "list", "watch", "delete")), ("/status", ("get", "patch")), ("/finalizers", ("update",)))


def rules(kinds: Sequence[Kind] = KINDS) -> list[Right]:
    """The rows of the operator's Role: its own objects, then what any kind needs, each resource once."""
    group = API_VERSION.split("/")[0]
    found = [Right(group, ", ".join(kind.plural + sub for kind in kinds), verbs) for sub, verbs in OWN]
    needed: dict[tuple[str, str], dict[str, None]] = {}
    for kind in kinds:
        for right in kind.needs:
            needed.setdefault((right.group, right.resource), {}).update(dict.fromkeys(right.verbs))
    return found + [Right(group, resource, tuple(verbs)) for (group, resource), verbs in needed.items()]


def template(kinds: Sequence[Kind] = KINDS) -> str:
    """`_rules.tpl`: the operator's rules, and the list of kinds for people's own roles."""
    rows = "".join(
        f"- apiGroups: [{right.group or EMPTY}]\n  resources: [{right.resource}]\n  verbs: [{', '.join(right.verbs)}]\n"
        for right in rules(kinds)
    )
    named = ", ".join(kind.plural for kind in kinds)
    return (
        "{{- /* Generated from the operator's registry of kinds: make schemas. */ -}}\n"
        f'{{{{- define "tokenmark.rules" -}}}}\n{rows}{{{{- end }}}}\n\n'
        f'{{{{- define "tokenmark.kinds" -}}}}\n[{named}]\n{{{{- end }}}}\n'
    )


if __name__ == "__main__":
    (Path(sys.argv[1]) / FILE).write_text(template())
