"""The Host check against DNS rebinding: a web page in a browser on this host must not read us under its own name.

A page of evil.example whose name suddenly resolves to 127.0.0.1 is same-origin with us, as the browser sees it; only
the Host header gives it away. Over an address that others can reach there is no such check: they need no browser.
"""

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]*)?")


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
        parts = _HOST.fullmatch(host)
        if parts is None:
            return False
        name = (parts["bracketed"] or parts["name"]).lower().rstrip(".")
        if name in self._names and not parts["bracketed"]:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
