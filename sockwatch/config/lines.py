"""Where a TOML text says what: the line of each key, which tomllib does not keep."""

import re
from collections import Counter
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""Keys from the root on; a number is the place in an array of tables, from 0."""

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]#]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\-\"' ]+?)\s*=")
_DEEPEST = 8
_LONGEST = 400


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of each table header and `key =`.

    A scan by line, good enough to point at a mistake: inside a multi-line string it may see a key that is none. It
    looks no deeper than the config goes, and no further into a line than people write.
    """
    table: KeyPath = ()
    tables: Counter[KeyPath] = Counter()
    lines: dict[KeyPath, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        known = len(table)
        if header := _HEADER.match(line[:_LONGEST]):
            known, table = 0, _inside(_split(header[2]), tables)
            if header[1] == "[[":
                tables[table] += 1
                table = (*table, tables[table] - 1)
            path = table
        elif key := _KEY.match(line[:_LONGEST]):
            path = (*table, *_split(key[1]))
        else:
            continue
        for depth in range(known + 1, len(path) + 1):
            lines.setdefault(path[:depth], number)
    return lines


def line_of(lines: Mapping[KeyPath, int], at: KeyPath) -> int | None:
    """The line of the key, or of the nearest table around it that has one (what is inside inline tables has none)."""
    return next((lines[at[:depth]] for depth in range(len(at), 0, -1) if at[:depth] in lines), None)


def _inside(path: KeyPath, tables: Mapping[KeyPath, int]) -> KeyPath:
    """The path, with the place in each array of tables that it leads through: always the last so far."""
    found: KeyPath = ()
    for key in path[:-1]:
        found = (*found, key)
        if tables.get(found):
            found = (*found, tables[found] - 1)
    return (*found, *path[-1:])


def _split(dotted: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split(".", _DEEPEST)[:_DEEPEST])
