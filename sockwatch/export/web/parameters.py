"""What a request asks for, read strictly: a wrong name or value is one line that says what would be right."""

import json
import math
from collections.abc import Iterable, Mapping

from starlette.datastructures import QueryParams
from starlette.responses import Response

from sockwatch.errors import UsageError
from sockwatch.model.printable import printable
from sockwatch.nearest import unknown

_LONGEST = 256


class Parameters:
    """The parameters after `?`. Every method raises UsageError."""

    def __init__(self, query: QueryParams, known: Iterable[str], *, repeatable: Iterable[str] = ()) -> None:
        names, several = list(known), set(repeatable)
        self._values: dict[str, list[str]] = {}
        for name, value in query.multi_items():
            if name not in names:
                raise UsageError(unknown("parameter", printable(name[:_LONGEST]), names))
            if len(value) > _LONGEST or "\0" in value:
                raise UsageError(f"{name}: no value is that long" if len(value) > _LONGEST else f"{name}: no text")
            self._values.setdefault(name, []).append(value)
        for name, values in self._values.items():
            if len(values) > 1 and name not in several:
                raise UsageError(f"{name} is there twice")

    def text(self, name: str) -> str | None:
        """The value; None where it is not there."""
        return self._values.get(name, [None])[0]

    def texts(self, name: str) -> list[str]:
        """All values of one that may be there several times."""
        return self._values.get(name, [])

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number."""
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
            raise UsageError(f"{name} must be a whole number from {least} to {most}")
        return int(text)

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """A number."""
        text = self.text(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise UsageError(f"{name} must be a number from {least:.15g} to {most:.15g}")
        return value

    def word(self, name: str, words: Mapping[str, object], default: str) -> str:
        """One of several words."""
        text = self.text(name)
        if text is None:
            return default
        if text not in words:
            raise UsageError(unknown(name, printable(text), words))
        return text


def refused(status: int, why: str) -> Response:
    """An error as the API tells it: one object with one line."""
    headers = {"Retry-After": "1"} if status == 503 else None  # noqa: PLR2004 - Service Unavailable
    return answer({"error": why}, status, headers)


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII."""
    text = json.dumps(body, allow_nan=False) + "\n"
    return Response(text.encode(), status, headers=headers, media_type="application/json")
