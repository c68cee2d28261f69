"""The config written out: what holds, and a complete example. What each key means is the string after its field."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

from sockwatch.config.check import dotted, is_required, key_of, unannotated
from sockwatch.config.load import DETECTORS, Config
from sockwatch.diagnose.detector import Settings
from sockwatch.model.constraint import SECRET, Form
from sockwatch.model.settings import AlertSettings, DaemonSettings, Silence, Sink

_WIDTH = 100
_HIDDEN = "<hidden>"
_HEAD = """\
## sockwatch reads /etc/sockwatch/config.toml, or the file given with --config.
## Every key is here with its default; uncomment what you want to change, and the [table] above it.
## `sockwatch config check` finds mistakes, `sockwatch explain CODE` says what a finding means.
"""
_WHICH_SINK = f"One of {', '.join(kind.type for kind in get_args(Sink))}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    name: str
    value: Any
    usual: Any
    """The default; None where there is none."""
    kind: Any
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    header: str
    """In its brackets; empty for the root."""
    why: str
    keys: tuple[_Key, ...]


def show(config: Config, defaults: Mapping[str, Settings]) -> str:
    """Every setting as TOML; what differs from its default says so, and what is secret is not shown in full."""
    shown = []
    for table in _tables(config, defaults):
        lines = [table.header] if table.header else []
        for key in table.keys:
            note = "" if key.usual is None or key.value == key.usual else f"  # default: {toml(key.usual)}"
            lines.append(f"{key.name} = {toml(hidden(key.value, key.kind))}{note}")
        shown.append("\n".join(lines) + "\n")
    return "\n".join(shown)


def example(defaults: Mapping[str, Settings]) -> str:
    """A complete config file with every key commented out, its default and what it means."""
    sinks = {kind.type: kind(**_examples(kind)) for kind in get_args(Sink)}
    alerts = AlertSettings(silences=(Silence(**_examples(Silence)),))
    shown = [_HEAD]
    for table in _tables(Config(detectors=defaults, daemon=DaemonSettings(sinks=sinks, alerts=alerts)), defaults):
        lines = [*_comment(table.why), f"# {table.header}"] if table.header else []
        for key in table.keys:
            differs = key.usual is not None and key.value != key.usual
            why = f"{key.why} Default: {toml(key.usual)}" if differs else key.why
            lines += [*_comment(why), f"# {key.name} = {toml(key.value)}"]
        shown.append("\n".join(lines) + "\n")
    return "\n".join(shown)


def hidden(value: Any, kind: Any) -> Any:
    """The value without what is secret in it: any password, and of a URL that is a secret itself all but the host."""
    plain, rules = unannotated(kind)
    if isinstance(value, dict):
        return {key: hidden(item, get_args(plain)[1]) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(hidden(item, get_args(plain)[0]) for item in value)
    if Form.URL in rules and value:
        return _hidden_url(value, secret=SECRET in rules)
    return _HIDDEN if SECRET in rules and value else value


def _hidden_url(text: str, *, secret: bool) -> str:
    url = urlsplit(text)
    user, at, host = url.netloc.rpartition("@")
    rest = text.partition(url.netloc)[2]
    return f"{url.scheme}://{_HIDDEN if user else ''}{at}{host}{f'/{_HIDDEN}' if secret and rest.strip('/') else rest}"


@cache
def meanings(settings: type) -> Mapping[str, str]:
    """What each field means: the string that follows it in the source of its class, on one line."""
    found: dict[str, str] = {}
    for cls in reversed(settings.__mro__[:-1]):
        found.update(_attribute_docstrings(cls))
    return found


def toml(value: object) -> str:
    """A value as TOML writes it."""
    match value:
        case dict():
            inside = ", ".join(f"{dotted((key,))} = {toml(item)}" for key, item in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case tuple():
            return f"[{', '.join(map(toml, value))}]"
        case str():
            # JSON's escapes are TOML's; whatever a terminal might obey is escaped as well.
            return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(value, ensure_ascii=False))
        case _:
            return json.dumps(value)


def _tables(config: Config, defaults: Mapping[str, Settings]) -> Iterator[_Table]:
    yield from _with_inner(config.daemon, DaemonSettings(), "")
    for code, settings in config.detectors.items():
        yield from _with_inner(settings, defaults[code], f"{DETECTORS}.{code}")


def _with_inner(table: Any, default: Any, name: str, brackets: str = "[{}]") -> Iterator[_Table]:
    """A table, then those inside it. `default` is None for one that there can be any number of."""
    cls: Any = type(table)
    types, why = get_type_hints(cls, include_extras=True), meanings(cls)
    keys: list[_Key] = []
    inner: list[_Table] = []
    if isinstance(table, get_args(Sink)):
        keys.append(_Key(name="type", value=table.type, usual=None, kind=str, why=_WHICH_SINK))
    for field in fields(table):
        value, key = getattr(table, field.name), key_of(field)
        usual = _usual(field) if default is None else getattr(default, field.name)
        below = f"{name}.{key}" if name else key
        if is_dataclass(value):
            inner += _with_inner(value, usual, below)
        elif not holds_tables(types[field.name]):
            keys.append(_Key(name=key, value=value, usual=usual, kind=types[field.name], why=why.get(field.name, "")))
        elif isinstance(value, dict):
            inner += [part for one, item in value.items() for part in _with_inner(item, None, f"{below}.{one}")]
        else:
            inner += [part for item in value for part in _with_inner(item, None, below, "[[{}]]")]
    header = brackets.format(name) if name else ""
    about = inspect.cleandoc(cls.__doc__ or "") if default is None else ""
    if keys or not inner:
        yield _Table(header=header, why=about, keys=tuple(keys))
    yield from inner


def holds_tables(kind: Any) -> bool:
    """Whether a setting is an array or a table of tables."""
    plain, _ = unannotated(kind)
    return any(is_dataclass(inner) or holds_tables(inner) for inner in get_args(plain))


def _usual(field: Any) -> Any:
    if is_required(field):
        return None
    return field.default_factory() if callable(field.default_factory) else field.default


def _examples(cls: Any) -> dict[str, Any]:
    return {field.name: field.metadata["example"] for field in fields(cls) if "example" in field.metadata}


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="## ", subsequent_indent="## ")


def _attribute_docstrings(cls: type) -> Iterator[tuple[str, str]]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, after in pairwise(statements):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
            case _:
                pass
