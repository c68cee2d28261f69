"""The rule of each Form: what a text of the config must look like, for the checker and for the JSON Schema."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sockwatch.model.alert import BLIND
from sockwatch.model.constraint import Form
from sockwatch.nearest import nearest

_LAST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The names that a config can refer to: each finding's variants by its code."""

    variants: Mapping[str, tuple[str, ...]]

    @property
    def findings(self) -> list[str]:
        """Every CODE and CODE/VARIANT."""
        return [*self.variants, *(f"{code}/{name}" for code, names in self.variants.items() for name in names)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`must` completes "KEY must be"; `wrong` judges a value that looks right: where it is not, it says why, or ""."""

    must: str
    pattern: str = ""
    """A regular expression for the whole text, in the part of the language that ECMAScript shares."""
    least: int = 0
    """How many items an array must have."""
    wrong: Callable[[Any, Known], str | None] = lambda _value, _known: None

    def schema(self) -> dict[str, Any]:
        """Its part of the JSON Schema."""
        return ({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {}) | (
            {"minItems": self.least} if self.least else {}
        )

    def problem(self, value: str | tuple[str, ...], known: Known) -> str | None:
        """None for what is right; else a hint, which may be empty."""
        matches = not isinstance(value, str) or not self.pattern or re.fullmatch(self.pattern, value, re.DOTALL)
        if matches and len(value) >= self.least:
            return self.wrong(value, known)
        return ""


def _wrong_address(text: str, _known: Known) -> str | None:
    import ipaddress  # noqa: PLC0415 - only where there is an address to check

    host, _, port = text.rpartition(":")
    if int(port) > _LAST_PORT:
        return f"the last port is {_LAST_PORT}"
    if host.startswith("[") or re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return f"{host} is no IP address"
    return None


def _wrong_url(text: str, _known: Known) -> str | None:
    from urllib.parse import urlsplit  # noqa: PLC0415 - only where there is a URL to check

    try:
        url = urlsplit(text)
        right = url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        right = False
    return None if right else "it has no valid host and port"


def _wrong_instant(text: str, _known: Known) -> str | None:
    from datetime import datetime  # noqa: PLC0415 - only where there is a time to check

    try:
        datetime.fromisoformat(text or "2000-01-01")
    except ValueError:
        return "there is no such day and time"
    return None


def _wrong_finding(word: str, known: Known) -> str | None:
    return None if word in known.findings else nearest(word, known.findings)


def _wrong_code(pattern: str, known: Known) -> str | None:
    codes = [*known.variants, BLIND]
    return None if any(fnmatchcase(code, pattern) for code in codes) else nearest(pattern, codes)


def _wrong_variant(pattern: str, known: Known) -> str | None:
    variants = {name for names in known.variants.values() for name in names}
    return None if any(fnmatchcase(name, pattern) for name in (*variants, "")) else nearest(pattern, sorted(variants))


RULES: Mapping[Form, Rule] = {
    Form.ADDRESS: Rule(
        must="HOST:PORT, [HOST]:PORT or :PORT",
        pattern=r"(\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9._-]*):[0-9]{1,5}",
        wrong=_wrong_address,
    ),
    Form.HOST: Rule(
        must="a host name without a port", pattern=r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f.]*(:[0-9A-Fa-f.]*){2,}\]?"
    ),
    Form.URL: Rule(must="a URL, http or https", pattern=r"https?://[\x21-\x7e]+", wrong=_wrong_url),
    Form.PATH: Rule(must="an absolute path", pattern=r"(/[^\x00]*)?"),
    Form.NAMESPACE: Rule(
        must='"all", "current", a name in /run/netns, or an absolute path',
        pattern=r"/[^\x00]+|(?!\.{1,2}$)[^/\x00]+",
    ),
    Form.FINDING: Rule(must="the CODE or CODE/VARIANT of a finding", wrong=_wrong_finding),
    Form.CODE_PATTERN: Rule(must="the code of a finding, or a pattern that matches one", wrong=_wrong_code),
    Form.VARIANT_PATTERN: Rule(must="the variant of a finding, or a pattern that matches one", wrong=_wrong_variant),
    Form.INSTANT: Rule(
        must="a time as 2030-12-31T23:59:59Z",
        pattern=r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?",
        wrong=_wrong_instant,
    ),
    Form.NAME: Rule(must="a name of at most 64 letters, digits, _ and -", pattern=r"[A-Za-z0-9_-]{1,64}"),
    Form.ARGUMENT: Rule(must="text without a NUL", pattern=r"[^\x00]*"),
    Form.COMMAND: Rule(
        must="a program, by its absolute path, and its arguments",
        least=1,
        wrong=lambda words, _known: None if words[0].startswith("/") else "the program's path is not absolute",
    ),
    Form.SOME: Rule(must="an array that is not empty", least=1),
    Form.VARIABLE: Rule(
        must="the name of a variable (not SOCKWATCH_*)", pattern=r"(?!SOCKWATCH_)[A-Za-z_][A-Za-z0-9_]*"
    ),
    Form.HEADER: Rule(must="the name of an HTTP header", pattern=r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
    Form.HEADER_VALUE: Rule(must="printable ASCII", pattern=r"[\x20-\x7e]*"),
    Form.LABEL: Rule(must="the name of a label: letters, digits and _", pattern=r"(?!__)[A-Za-z_][A-Za-z0-9_]*"),
}
