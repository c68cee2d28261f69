"""The Host check against DNS rebinding: a web page in a browser on this host must not read us under its own name.

A page of evil.example whose name suddenly resolves to 127.0.0.1 is same-origin with us, as the browser sees it; only
the Host header gives it away. Over an address that others can reach there is no such check: they need no browser.
"""

import ipaddress
from collections.abc import Iterable


def is_loopback(address: str) -> bool:
    """Whether a connection to this local address came from this host; a v4-mapped address is one of IPv4."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a unix socket: no browser gets there
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


class Hosts:
    """The names under which we may be asked over a loopback address, besides IP addresses and localhost."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    def allow(self, host: str) -> bool:
        """Whether a Host header is one of ours, with or without a port."""
        name = _without_port(host).lower().rstrip(".")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host
