"""pydantic's JSON Schema -> a Kubernetes structural schema, or a refusal that names the path.

Structural schemas have no references, unions, const, exclusive bounds as numbers or pattern properties; each is mapped
where a mapping exists. What cannot be mapped raises, so that a model the API server would refuse fails in `make check`.
"""

from __future__ import annotations

from typing import Any

_DROPPED = {
    "title", "examples", "deprecated", "writeOnly", "readOnly", "discriminator", "$defs", "contentMediaType",
    "contentEncoding",
}  # fmt: skip
_FORMATS = {"integer": "int64"}


def structural(node: dict[str, Any], defs: dict[str, Any] | None = None, path: str = "") -> dict[str, Any]:
    """Maps one schema node. Raises ValueError with the path for what has no structural form."""
    defs = node.get("$defs", {}) if defs is None else defs
    node = _dereferenced(node, defs, path)
    for key in ("patternProperties", "prefixItems", "oneOf", "anyOf"):
        if key in node:
            raise ValueError(f"{path}: {key} has no structural form; use optional members and a CEL rule")
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if out.get("default", 0) is None:
        del out["default"]
    elif "default" in out:
        out["default"] = _without_nulls(out["default"])
    if "const" in out:
        out["enum"] = [out.pop("const")]
    _bounds(out)
    _children(out, defs, path)
    if "type" not in out:
        out["x-kubernetes-preserve-unknown-fields"] = True
    return out


def _dereferenced(node: dict[str, Any], defs: dict[str, Any], path: str, depth: int = 0) -> dict[str, Any]:
    """Follows references and drops the null arm of an optional member."""
    if depth > 8:
        raise ValueError(f"{path}: a recursive type has no structural form")
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        name = node["$ref"].rsplit("/", 1)[1]
        return _dereferenced({**defs[name], **rest}, defs, path, depth + 1)
    if "anyOf" in node:
        arms = [arm for arm in node["anyOf"] if arm.get("type") != "null"]
        if len(arms) == 1:
            rest = {key: value for key, value in node.items() if key != "anyOf"}
            return _dereferenced({**arms[0], **rest}, defs, path, depth + 1)
    return dict(node)


def _without_nulls(value: Any) -> Any:
    """An absent member is left out: null is no value of a structural type."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _bounds(out: dict[str, Any]) -> None:
    for key, bound, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        if key in out:
            out[bound] = out.pop(key) + step
    if out.get("type") == "integer":
        out.setdefault("format", "int64")
    if out.pop("uniqueItems", False):
        out["x-kubernetes-list-type"] = "set"


def _children(out: dict[str, Any], defs: dict[str, Any], path: str) -> None:
    extra = out.pop("additionalProperties", None)
    if "properties" in out:
        out["properties"] = {
            name: structural(child, defs, f"{path}.{name}") for name, child in out["properties"].items()
        }
    elif extra is True:
        out["x-kubernetes-preserve-unknown-fields"] = True
    elif extra:
        out["additionalProperties"] = structural(extra, defs, path + "{}")
    if "items" in out:
        out["items"] = structural(out["items"], defs, path + "[]")
