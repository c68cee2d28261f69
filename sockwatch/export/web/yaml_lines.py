"""YAML with the line of everything in it, from a file that may be wrong in any way; all mistakes are kept.

PyYAML's own constructors are not used: they forget the lines, take a key twice, and follow aliases, with which a few
lines make gigabytes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import yaml

from sockwatch.errors import ConfigError
from sockwatch.model.printable import printable
from sockwatch.nearest import unknown

_DEEPEST = 8
_TAG = "tag:yaml.org,2002:"
_TEXTS = {_TAG + kind for kind in ("str", "int", "float", "bool", "timestamp")}
_NUMBER = re.compile("[0-9]{1,9}")
_TRUE = {"yes", "true", "on"}

T = TypeVar("T")


class _Mark(Protocol):
    """A place in the text: PyYAML has two classes for it."""

    line: int


class YamlLines:
    """One document. Whoever reads from it asks for `check` at the end, which raises what was found wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._mistakes: list[str] = []
        try:
            self._refuse_bombs(text)
            self.root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            self.mistake_at(error.problem_mark, error.problem or "no YAML")
        except yaml.YAMLError as error:  # of the reader: a character that YAML does not have
            self.mistake_at(None, getattr(error, "reason", "no YAML"))
        self.check()

    def mistake(self, node: yaml.Node | None, text: str) -> None:
        """Remember it, with the line."""
        self.mistake_at(None if node is None else node.start_mark, text)

    def mistake_at(self, mark: _Mark | None, text: str) -> None:
        """The same, where there is no node."""
        line = "" if mark is None else f":{mark.line + 1}"
        self._mistakes.append(printable(f"{self._path}{line}: {text}"))

    def check(self) -> None:
        """Raise ConfigError with all mistakes, if there is one."""
        if self._mistakes:
            raise ConfigError(*self._mistakes)

    def where(self, node: yaml.Node, key: str) -> str:
        """FILE:LINE: KEY, for a mistake that shows itself later."""
        return f"{self._path}:{node.start_mark.line + 1}: {key}"

    def table(
        self, node: yaml.Node | None, known: Iterable[str] | None = None, inside: str = ""
    ) -> dict[str, yaml.Node]:
        """The values by their keys, which are of these; None is any. What is empty has none."""
        if node is None or self._is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.mistake(node, f"{inside or 'the file'} must be a table of keys and values")
            return {}
        values: dict[str, yaml.Node] = {}
        names = None if known is None else list(known)
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.mistake(key, "a key must be a word")
            elif names is not None and key.value not in names:
                self.mistake(key, unknown(f"key in {inside}" if inside else "key", key.value, names))
            elif key.value in values:
                self.mistake(key, f"{key.value} is there twice")
            else:
                values[key.value] = value
        return values

    def text(self, node: yaml.Node | None, default: str = "") -> str:
        """A string; numbers and booleans are taken as they are written, as Go's YAML does."""
        return self._scalar(node, _TEXTS, default, str, "must be a string")

    def flag(self, node: yaml.Node | None, *, default: bool) -> bool:
        """A boolean."""
        return self._scalar(node, {_TAG + "bool"}, default, lambda v: v.lower() in _TRUE, "must be true or false")

    def number(self, node: yaml.Node | None, default: int) -> int:
        """A whole number, 0 or more."""
        if node is None or self._is_null(node):
            return default
        if not isinstance(node, yaml.ScalarNode) or not _NUMBER.fullmatch(node.value):
            self.mistake(node, "must be a whole number, 0 or more")
            return default
        return int(node.value)

    def texts(self, node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
        """A list of strings, each with its node."""
        if node is None or self._is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.mistake(node, "must be a list")
            return []
        return [(self.text(item), item) for item in node.value]

    def choice(self, node: yaml.Node | None, choices: Mapping[str, T], default: T, what: str) -> T:
        """One of several words."""
        word = self.text(node)
        if word and word not in choices:
            self.mistake(node, unknown(what, word, choices))
        return choices.get(word, default)

    def _scalar(
        self, node: yaml.Node | None, tags: Iterable[str], default: T, make: Callable[[str], T], wrong: str
    ) -> T:
        if node is None or self._is_null(node):
            return default
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            self.mistake(node, wrong)
            return default
        return make(node.value)

    def _refuse_bombs(self, text: str) -> None:
        """Before anything recursive sees the text: no aliases, and no more depth than the format has."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                self.mistake_at(event.start_mark, "aliases are not read here")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                self.mistake_at(event.start_mark, "too deep for a web config file")
            self.check()

    @staticmethod
    def _is_null(node: yaml.Node) -> bool:
        return isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null"
