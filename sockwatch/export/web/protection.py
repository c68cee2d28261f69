"""What a web config file asks for, ready to use: TLS, passwords, a rate and headers."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from sockwatch.export.web.passwords import Passwords
from sockwatch.export.web.token_bucket import TokenBucket


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Protection:
    """Without arguments: plain HTTP for everybody."""

    tls: ssl.SSLContext | None = None
    client_sans: frozenset[str] = frozenset()
    """Where there are any, a client's certificate must have one of these names (tls.py, `names`)."""
    passwords: Passwords | None = None
    bucket: TokenBucket | None = None
    headers: tuple[tuple[str, str], ...] = ()


CurrentProtection = Callable[[], Protection]
"""The newest; it may have changed since the last call."""
