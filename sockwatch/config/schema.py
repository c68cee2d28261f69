"""The JSON Schema (2020-12) of the config file, from the same declarations that the checker reads."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sockwatch.config.check import is_required, key_of, unannotated
from sockwatch.config.document import holds_tables, meanings
from sockwatch.config.forms import RULES
from sockwatch.config.load import DETECTORS
from sockwatch.diagnose.detector import Settings
from sockwatch.model.constraint import Form, OneOf, Range
from sockwatch.model.settings import DaemonSettings

_TYPES: Mapping[object, str] = {float: "number", int: "integer", bool: "boolean", str: "string"}

Schema = dict[str, Any]


def schema(defaults: Mapping[str, Settings]) -> Schema:
    """The whole file."""
    root = _table(DaemonSettings())
    root["properties"][DETECTORS] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {code: _table(settings) for code, settings in defaults.items()},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "sockwatch config"} | root


def _table(table: Any) -> Schema:
    """A dataclass: its class, or an instance with the defaults."""
    cls: Any = table if isinstance(table, type) else type(table)
    types, why = get_type_hints(cls, include_extras=True), meanings(cls)
    keys: Schema = {}
    for field in fields(cls):
        default = None if is_required(field) or isinstance(table, type) else getattr(table, field.name)
        if is_dataclass(default):
            keys[key_of(field)] = _table(default)
            continue
        keys[key_of(field)] = _value(types[field.name]) | {"description": why.get(field.name, "")}
        if default is not None and not holds_tables(types[field.name]):
            keys[key_of(field)]["default"] = default
    required = [key_of(field) for field in fields(cls) if is_required(field)]
    if "type" in cls.__dict__:
        keys, required = {"type": {"const": cls.type}, **keys}, ["type", *required]
    return {"type": "object", "additionalProperties": False, "properties": keys} | (
        {"required": required} if required else {}
    )


def _value(kind: Any) -> Schema:
    plain, rules = unannotated(kind)
    if is_dataclass(plain):
        return _table(plain)
    origin, inside = get_origin(plain), get_args(plain)
    if origin is UnionType:
        return {"oneOf": [_table(one) for one in inside]}
    if origin is dict:
        names = _value(inside[0])
        return {"type": "object", "propertyNames": names, "additionalProperties": _value(inside[1])}
    if origin is tuple:
        found: Schema = {"type": "array", "items": _value(inside[0])}
    else:
        found = {"type": _TYPES[plain]}
        if plain in {int, float} and not rules:
            rules = (Range(),)
    for rule in rules:
        found |= _rule(rule)
    return found


def _rule(rule: object) -> Schema:
    match rule:
        case Range():
            low = {"minimum": rule.least} if rule.above is None else {"exclusiveMinimum": rule.above}
            return {**low, "maximum": rule.most}
        case OneOf():
            return {"enum": list(rule.words)}
        case Form():
            return RULES[rule].schema()
        case _:
            return {}
