"""The headers of every answer: nothing may be cached, framed, or run from anywhere else."""

from collections.abc import Iterable

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DEFAULTS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

RawHeaders = list[tuple[bytes, bytes]]


def security_headers(configured: Iterable[tuple[str, str]] = ()) -> RawHeaders:
    """The defaults, and over them what the web config file says; an empty value takes a header away."""
    headers = DEFAULTS | dict(configured)
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items() if value]
