"""From what tomllib read to dataclasses, with every mistake noted on the way.

Understood are tables (dataclasses), tables of one of several kinds (a union of dataclasses, told apart by `type`),
tables and arrays of any of these, texts, numbers and truth values; Annotated adds what a value must be beyond its type.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from sockwatch.config.forms import RULES, Known
from sockwatch.config.lines import KeyPath
from sockwatch.model.constraint import SECRET, Form, OneOf, Range
from sockwatch.nearest import nearest

_ANY_NUMBER = Range()
_KINDS: Mapping[object, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}
_LONGEST_TEXT = 60
_LONG_INTEGER = 10**18


class Checker:
    """Collects `mistakes`: where, and the sentence. What it returns has None for what is wrong."""

    def __init__(self, known: Known) -> None:
        self.mistakes: list[tuple[KeyPath, str]] = []
        self._known = known

    def table(self, value: object, kind: Any, at: KeyPath, *, besides: Iterable[str] = ()) -> Any:
        """A dataclass from a table. `kind` is its class, or an instance with the defaults.

        `besides` are keys that are right, and are not looked at.
        """
        if not isinstance(value, dict):
            return self._note(at, f"{dotted(at)} is a table: [{dotted(at)}]")
        default = None if isinstance(kind, type) else kind
        cls = kind if isinstance(kind, type) else type(kind)
        types = get_type_hints(cls, include_extras=True)
        known = {key_of(field): field for field in fields(cls)}
        changes: dict[str, Any] = {}
        for key, item in value.items():
            if key in known:
                name = known[key].name
                inner = getattr(default, name, None)
                changes[name] = self._value(item, inner if is_dataclass(inner) else types[name], (*at, key))
            elif key not in besides:
                self.unknown("key", (*at, key), (*known, *besides))
        if default is not None:
            return replace(default, **changes)
        missing = [key for key, field in known.items() if is_required(field) and field.name not in changes]
        for key in missing:
            self._note(at, f"{dotted((*at, key))} is missing")
        return None if missing else cls(**changes)

    def unknown(self, what: str, at: KeyPath, valid: Iterable[str]) -> None:
        """Note a key that there is not."""
        self._note(at, _join(f"unknown {what} {dotted(at)}", nearest(str(at[-1]), valid)))

    def _value(self, value: object, kind: Any, at: KeyPath) -> Any:
        plain, rules = unannotated(kind)
        arguments = get_args(plain)
        if is_dataclass(plain):
            return self.table(value, plain, at)
        origin = get_origin(plain)
        if origin is UnionType:
            return self._one_of(value, {kind.type: kind for kind in arguments}, at)
        if origin is dict:
            return self._named(value, arguments[0], arguments[1], at)
        if origin is tuple:
            return self._array(value, arguments[0], rules, at)
        return self._scalar(value, plain, rules, at)

    def _array(self, value: object, kind: Any, rules: tuple[Any, ...], at: KeyPath) -> Any:
        if isinstance(value, list):
            before = len(self.mistakes)
            items = tuple(self._value(item, kind, (*at, index)) for index, item in enumerate(value))
            return items if len(self.mistakes) > before else self._held(items, rules, at)
        if is_dataclass(unannotated(kind)[0]):
            return self._note(at, f"{dotted(at)} is an array of tables: [[{dotted(at)}]]")
        return self._note(at, f"{dotted(at)} must be an array{_not(value, ())}")

    def _one_of(self, value: object, kinds: Mapping[str, Any], at: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self._note(at, f"{dotted(at)} is a table: [{dotted(at)}]")
        given = value.get("type")
        if given is None:
            return self._note(at, f"{dotted(at)}.type is missing; valid: {', '.join(kinds)}")
        if not isinstance(given, str) or given not in kinds:
            told = f"{dotted(at)}.type must be one of {', '.join(kinds)}{_not(given, ())}"
            return self._note((*at, "type"), _join(told, nearest(str(given), kinds) if isinstance(given, str) else ""))
        return self.table(value, kinds[given], at, besides=("type",))

    def _named(self, value: object, name: Any, kind: Any, at: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self._note(at, f"{dotted(at)} is a table: [{dotted(at)}]")
        for key in value:
            for rule in unannotated(name)[1]:
                if (hint := RULES[rule].problem(key, self._known)) is not None:
                    self._note((*at, key), _join(f"the key {dotted((*at, key))} must be {RULES[rule].must}", hint))
        return {key: self._value(item, kind, (*at, key)) for key, item in value.items()}

    def _scalar(self, value: Any, kind: Any, rules: tuple[Any, ...], at: KeyPath) -> Any:
        if Form.INSTANT in rules and hasattr(value, "isoformat"):
            value = value.isoformat()  # TOML has times of its own
        accepted = (int, float) if kind is float else (kind,)
        if not isinstance(value, accepted) or isinstance(value, bool) is not (kind is bool):  # true is no number
            return self._note(at, f"{_subject(at)} must be {_KINDS[kind]}{_not(value, rules)}")
        if kind in {int, float} and not any(isinstance(rule, Range) for rule in rules):
            rules = (*rules, _ANY_NUMBER)
        held = self._held(value, rules, at)
        return float(held) if kind is float and held is not None else held

    def _held(self, value: Any, rules: tuple[Any, ...], at: KeyPath) -> Any:
        """The value, held to its rules."""
        for rule in rules:
            match rule:
                case Range():
                    must, hint = str(rule), None if value in rule else ""
                    if value > rule.most:
                        must = f"at most {rule.most:.15g}"
                case OneOf():
                    must = " or ".join(rule.words)
                    hint = None if value in rule.words else nearest(value, rule.words)
                case Form():
                    must, hint = RULES[rule].must, RULES[rule].problem(value, self._known)
                case _:
                    continue
            if hint is not None:
                return self._note(at, _join(f"{_subject(at)} must be {must}{_not(value, rules)}", hint))
        return value

    def _note(self, at: KeyPath, sentence: str) -> None:
        self.mistakes.append((at, sentence))


def key_of(field: Field[Any]) -> str:
    """A field's name in the file: `for_` is `for`, which python keeps to itself."""
    return field.name.removesuffix("_")


def is_required(field: Field[Any]) -> bool:
    """Whether there is no default."""
    return field.default is MISSING and field.default_factory is MISSING


def unannotated(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type, and what Annotated adds to it."""
    return (kind.__origin__, kind.__metadata__) if get_origin(kind) is Annotated else (kind, ())


def dotted(at: KeyPath) -> str:
    """The key as TOML writes it."""
    keys = [str(key) for key in at if not isinstance(key, int)]
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{_cut(key)}"' for key in keys)


def _not(value: object, rules: tuple[Any, ...]) -> str:
    """`, not VALUE`, no longer than a message can be; nothing of a secret, nor of an array that has to be one."""
    return "" if SECRET in rules or (isinstance(value, tuple) and value) else f", not {_written(value)}"


def _written(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'the string "{_cut(value)}"'
        case dict():
            return "a table"
        case list() | tuple():
            return "an array" if value else "an empty one"
        case int() if abs(value) >= _LONG_INTEGER:
            return "one of so many digits"
        case _:
            return str(value)


def _subject(at: KeyPath) -> str:
    return f"an item of {dotted(at)}" if isinstance(at[-1], int) else dotted(at)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


def _join(sentence: str, hint: str) -> str:
    return f"{sentence}; {hint}" if hint else sentence
