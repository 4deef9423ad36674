"""JSON Schema of workload files: a family with its parameters, or explicit layers."""

from __future__ import annotations

from typing import Any

import msgspec

from simulator.op import operations
from simulator.workload.families import families, get_family, parameters
from simulator.workload.reading import Header

_FROM = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def workload_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of `workloads/*.yaml`, from the registries of families and operations."""
    header, definitions = _inline(Header)
    by_family = [_family_schema(name, header) for name in sorted(families())]
    explicit = {
        "type": "object",
        "properties": {**header["properties"], "layers": {"type": "array", "minItems": 1, "items": _ref("layer")}},
        "required": [*header["required"], "layers"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": [*by_family, explicit],
        "$defs": {**definitions, "layer": _layer_schema()},
    }


def _family_schema(name: str, header: dict[str, Any]) -> dict[str, Any]:
    own, _ = _inline(parameters(get_family(name)))
    return {
        "type": "object",
        "properties": {**header["properties"], "family": {"const": name}, **own["properties"]},
        "required": [*header["required"], "family", *own["required"]],
        "additionalProperties": False,
    }


def _layer_schema() -> dict[str, Any]:
    """A bare kind, `kind: {...}`, or a `repeat` of layers."""
    kinds: list[dict[str, Any]] = [{"enum": sorted(operations())}]
    for kind, op in sorted(operations().items()):
        body, _ = _inline(op)
        body["properties"] = {**body["properties"], "name": {"type": "string"}, "from": _FROM}
        kinds.append(_single(kind, body))
    repeat = {
        "type": "object",
        "properties": {
            "times": {"type": "integer", "minimum": 1},
            "name": {"type": "string"},
            "layers": {"type": "array", "items": _ref("layer"), "minItems": 1},
        },
        "required": ["times", "layers"],
        "additionalProperties": False,
    }
    return {"oneOf": [*kinds, _single("repeat", repeat)]}


def _single(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {kind: body}, "required": [kind], "additionalProperties": False}


def _inline(struct: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The object schema of a Struct, and the definitions that it refers to."""
    schema = msgspec.json.schema(struct)
    definitions = schema["$defs"]
    body = dict(definitions.pop(schema["$ref"].rpartition("/")[2]))
    body.setdefault("required", [])
    return body, definitions


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}
