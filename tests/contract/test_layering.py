"""Imports point one way: docs/architecture.md."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from contract.repository import PACKAGE, ROOT, calls, imports, modules

LEAVES = frozenset({"clock", "errors", "nearest", "private_file", "writers"})
LAYERS: Mapping[str, frozenset[str]] = {
    "model": frozenset({"model"}),
    **{leaf: frozenset() for leaf in LEAVES},
    "private_file": frozenset({"errors", "model"}),
    "writers": frozenset({"errors"}),
    "collect": frozenset({"collect", "model"}) | LEAVES,
    "diagnose": frozenset({"diagnose", "model"}),
    "export": frozenset({"export", "model"}) | LEAVES,
    "config": frozenset({"config", "diagnose", "model"}) | LEAVES,
    "effort": frozenset({"effort", "model"}) | LEAVES,
    "pipeline": frozenset({"effort", "collect", "diagnose", "model"}) | LEAVES,
    "daemon": frozenset({"daemon", "config", "pipeline", "effort", "collect", "diagnose", "export", "model"}) | LEAVES,
    "lab": frozenset({"lab", "pipeline", "collect", "diagnose", "model"}) | LEAVES,
    "cli": frozenset({"cli", "config", "daemon", "lab", "pipeline", "collect", "diagnose", "export", "model"}) | LEAVES,
    "__main__": frozenset({"cli", "export", "model"}) | LEAVES,
    "__init__": frozenset(),
}
"""What each part of the package may import of the package."""

PURE = frozenset(
    {
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "itertools",
        "math",
        "numpy",
        "operator",
        "re",
        "typing",
    }
)
"""All that diagnosis needs from outside; none of it reads a clock, a file or a socket."""


def part_of(path: Path) -> str:
    """The folder or module directly below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("sockwatch.")} - {"__version__"}
    assert ours <= LAYERS[part_of(path)]


def test_every_part_has_a_layer_and_every_layer_a_part() -> None:
    assert {part_of(path) for path in modules()} == LAYERS.keys()


@pytest.mark.parametrize("path", sorted((PACKAGE / "diagnose").rglob("*.py")), ids=lambda path: path.stem)
def test_diagnosis_touches_nothing_outside(path: Path) -> None:
    allowed = PURE | {"sockwatch"} | ({"importlib", "pkgutil"} if path.stem == "registry" else set())
    assert {name.split(".")[0] for name in imports(path)} <= allowed
    assert not calls(path) & {"open", "print", "input", "eval", "exec", "__import__"}


def test_the_listing_in_the_docs_is_the_listing() -> None:
    listing = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^      (\w+)(?:/|\.py) ", listing, re.MULTILINE))
    assert listed == {part_of(path) for path in modules()} - {"__init__"}
