"""What a setting may be beyond its type: `Annotated[float, Range(above=0)]`. The config file is held to it."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Final

_LARGEST = 1e12
"""No setting is larger: arithmetic with it neither overflows nor loses whole numbers."""

SECRET: Final = "secret"  # noqa: S105 - it marks a setting that is one, and is none
"""Marks what is never shown in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From `least`, or above `above`, to `most`, which is included."""

    least: float = 0
    above: float | None = None
    most: float = _LARGEST

    def __contains__(self, value: float) -> bool:
        """Whether it may be; NaN may not."""
        return (self.least <= value if self.above is None else self.above < value) and value <= self.most

    def __str__(self) -> str:
        low = f"{self.least:.15g} or more" if self.above is None else f"more than {self.above:.15g}"
        return low if self.most == _LARGEST else f"{low}, at most {self.most:.15g}"


Share = Annotated[float, Range(above=0, most=1)]
"""A part of a whole."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these words."""

    words: tuple[str, ...]


class Form(Enum):
    """What a text, or an array of texts, is to look like; sockwatch/config/forms.py has the rule of each."""

    ADDRESS = auto()
    """HOST:PORT or [HOST]:PORT"""
    HOST = auto()
    """A host name or an IP address."""
    URL = auto()
    """http or https"""
    PATH = auto()
    """Absolute, or empty."""
    NAMESPACE = auto()
    """`all`, `current`, a name or an absolute path."""
    FINDING = auto()
    """CODE or CODE/VARIANT"""
    CODE_PATTERN = auto()
    """With `*` and `?`, and matches the code of at least one alert."""
    VARIANT_PATTERN = auto()
    """With `*` and `?`, and matches at least one variant."""
    INSTANT = auto()
    """RFC 3339, or empty."""
    NAME = auto()
    """Letters, digits, `_` and `-`."""
    ARGUMENT = auto()
    """What a program can be given."""
    COMMAND = auto()
    """An array: a program by its absolute path, then its arguments."""
    SOME = auto()
    """An array that is not empty."""
    VARIABLE = auto()
    """The name of an environment variable that a user may set."""
    HEADER = auto()
    """The name of an HTTP header (a token of RFC 9110)."""
    HEADER_VALUE = auto()
    """Printable ASCII."""
    LABEL = auto()
    """The name of a Prometheus label."""
