"""The same look as if a sysctl had another value, for `check --what-if`.

A verdict about sockets that are there must not change because of a sysctl that they no longer read: a listener keeps
its backlog, a closed socket its timer. Such a sysctl is replaced for what is judged of the setting, and its present
value stays in `Namespace.kept` for what is inferred from the sockets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sockwatch.model.snapshot import Snapshot

_INT = 2**31 - 1
_BYTE = 255
_TIME = _INT // 1000
"""In seconds: the kernel counts it in ticks, of which a second has up to 1000 (CONFIG_HZ)."""
_PRIVILEGED = 1024
"""net.ipv4.ip_unprivileged_port_start: no range begins below it (ipv4_local_port_range in sysctl_net_ipv4.c)."""
_LAST_PORT = 65535

_NEXT_RETRY = "At once: each socket reads it at its next retransmission."
_NEXT_SYN = "At once, for SYNs that arrive from then on; requests that are there stay."
_NEXT_PROBE = (
    "Connections with SO_KEEPALIVE that set no value of their own read it when their keepalive timer fires next; "
    "the others never do."
)
_NEXT_PORT = (
    "At once, for every port that connect() or bind() to port 0 chooses from then on; what has a port keeps it."
)
_NEXT_REUSE = "At once, for every connect() from then on, over what is in TIME_WAIT now as well."
_NEXT_PACKET = "Each tracked connection reads it with its next packet; silent ones keep their timer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the kernel takes for a sysctl, and what happens to the sockets that are there when it is set.

    `parts` numbers from `low` to `high`, separated by spaces. `keeps`: sockets that are there do not read it again.
    """

    low: int
    high: int
    parts: int = 1
    keeps: bool = False
    takes_effect: str

    @property
    def told(self) -> str:
        """What is said beside a verdict that supposes it."""
        return f"{self.takes_effect} The verdicts about these stay." if self.keeps else self.takes_effect

    def refusal(self, value: str) -> str:
        """Why the kernel would refuse the value; empty where it takes it."""
        words = value.split()
        if len(words) == self.parts and all(_is_number(w) and self.low <= int(w) <= self.high for w in words):
            return ""
        numbers = "a number" if self.parts == 1 else f"{self.parts} numbers"
        return f"it takes {numbers} from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange(Rule):
    """Two ports, the lower one first."""

    def refusal(self, value: str) -> str:
        """As that of Rule."""
        words = value.split()
        if len(words) == self.parts and all(_is_number(w) and self.low <= int(w) <= self.high for w in words):
            return "" if int(words[0]) <= int(words[1]) else "its first port is above its last"
        return f'it takes two ports from {self.low} to {self.high}, as "32768 60999"'


@dataclass(frozen=True, slots=True, kw_only=True)
class PortList(Rule):
    """Ports and ranges of ports, separated by commas; may be empty."""

    def refusal(self, value: str) -> str:
        """As that of Rule."""
        ends = [part.partition("-")[::2] for part in value.split(",")] if value else []
        if all(self._has(low) and self._has(high or low) and int(low) <= int(high or low) for low, high in ends):
            return ""
        return 'it takes ports and ranges of ports separated by commas, as "8080,9000-9010", or nothing'

    def _has(self, word: str) -> bool:
        return _is_number(word) and self.low <= int(word) <= self.high


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= len(str(2**64))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyNumbers(Rule):
    """One number or more."""

    def refusal(self, value: str) -> str:
        """As that of Rule."""
        words = value.split()
        return "" if words and all(_is_number(word) for word in words) else "it takes numbers"


_RULES: Mapping[str, Rule] = {
    "net.core.netdev_max_backlog": Rule(
        low=0, high=_INT, takes_effect="At once, for packets that arrive from then on."
    ),
    "net.core.rmem_default": Rule(low=2304, high=_INT, takes_effect="For sockets that are opened from then on."),
    "net.core.rmem_max": Rule(
        low=2304, high=_INT, takes_effect="When an application calls setsockopt(SO_RCVBUF) the next time."
    ),
    "net.core.somaxconn": Rule(
        low=0,
        high=_INT,
        keeps=True,
        takes_effect="When listen() is called the next time: what listens now keeps its backlog until its application "
        "is restarted.",
    ),
    "net.ipv4.ip_local_port_range": PortRange(low=_PRIVILEGED, high=_LAST_PORT, parts=2, takes_effect=_NEXT_PORT),
    "net.ipv4.ip_local_reserved_ports": PortList(low=0, high=_LAST_PORT, takes_effect=_NEXT_PORT),
    "net.ipv4.tcp_abort_on_overflow": Rule(
        low=0, high=_BYTE, takes_effect="At once, for handshakes that end at a full accept queue from then on."
    ),
    "net.ipv4.tcp_fin_timeout": Rule(
        low=0,
        high=_TIME,
        keeps=True,
        takes_effect="For sockets that are closed from then on: those that are in FIN_WAIT_2 keep their timer.",
    ),
    "net.ipv4.tcp_keepalive_intvl": Rule(low=0, high=_TIME, takes_effect=_NEXT_PROBE),
    "net.ipv4.tcp_keepalive_probes": Rule(low=0, high=_BYTE, takes_effect=_NEXT_PROBE),
    "net.ipv4.tcp_keepalive_time": Rule(low=0, high=_TIME, takes_effect=_NEXT_PROBE),
    "net.ipv4.tcp_max_orphans": Rule(
        low=0, high=_INT, takes_effect="At once, whenever a socket is closed or a closed one repeats its data."
    ),
    "net.ipv4.tcp_max_syn_backlog": Rule(low=0, high=_INT, takes_effect=_NEXT_SYN),
    "net.ipv4.tcp_max_tw_buckets": Rule(
        low=0,
        high=_INT,
        takes_effect="At once, for connections that end from then on; what is in TIME_WAIT now stays its 60 s.",
    ),
    "net.ipv4.tcp_mem": Rule(
        low=0,
        high=2**63 - 1,
        parts=3,
        takes_effect="At once, for memory that is asked for from then on; nothing is taken back.",
    ),
    "net.ipv4.tcp_orphan_retries": Rule(low=0, high=_BYTE, takes_effect=_NEXT_RETRY),
    "net.ipv4.tcp_retries2": Rule(low=0, high=_BYTE, takes_effect=_NEXT_RETRY),
    "net.ipv4.tcp_rfc1337": Rule(low=0, high=_BYTE, takes_effect="At once, for resets that arrive from then on."),
    "net.ipv4.tcp_rmem": Rule(
        low=1,
        high=_INT,
        parts=3,
        takes_effect="The maximum when a receive buffer grows next, the default for new sockets; no buffer shrinks.",
    ),
    "net.ipv4.tcp_syn_linear_timeouts": Rule(low=0, high=127, takes_effect=_NEXT_RETRY),
    "net.ipv4.tcp_syn_retries": Rule(low=1, high=127, takes_effect=_NEXT_RETRY),
    "net.ipv4.tcp_synack_retries": Rule(low=0, high=_BYTE, takes_effect=_NEXT_RETRY),
    "net.ipv4.tcp_syncookies": Rule(low=0, high=_BYTE, takes_effect=_NEXT_SYN),
    "net.ipv4.tcp_timestamps": Rule(
        low=0,
        high=_BYTE,
        keeps=True,
        takes_effect="For connections that are opened from then on: those that are there, TIME_WAIT included, keep "
        "what they agreed on.",
    ),
    "net.ipv4.tcp_tw_reuse": Rule(low=0, high=2, takes_effect=_NEXT_REUSE),
    "net.ipv4.tcp_tw_reuse_delay": Rule(low=1, high=60_000, takes_effect=_NEXT_REUSE),
    "net.ipv4.tcp_wmem": Rule(
        low=1,
        high=_INT,
        parts=3,
        takes_effect="The maximum when a send buffer grows next, the default for new sockets; no buffer shrinks.",
    ),
    "net.netfilter.nf_conntrack_buckets": Rule(
        low=1, high=_INT, takes_effect="At once: the table is arranged anew; its limit is nf_conntrack_max."
    ),
    "net.netfilter.nf_conntrack_max": Rule(
        low=0, high=_INT, takes_effect="At once, for connections that are tracked from then on."
    ),
    "net.netfilter.nf_conntrack_tcp_timeout_established": Rule(low=0, high=_TIME, takes_effect=_NEXT_PACKET),
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": Rule(low=0, high=_TIME, takes_effect=_NEXT_PACKET),
}
"""What verdicts rest on and somebody may set; for others, _NOT_SAID."""

_NOT_SAID = AnyNumbers(
    low=0, high=_INT, takes_effect="When it takes effect is not said here; Documentation/networking of the kernel does."
)

READ_ONLY: Mapping[str, str] = {
    "net.ipv4.tcp_ehash_entries": "it is the size of a table that the kernel makes at boot",
    "net.netfilter.nf_conntrack_count": "it is what the kernel counts",
}
"""What detectors read and nobody can set, and why."""


def rule(sysctl: str) -> Rule:
    """What the kernel takes for this sysctl and what setting it means."""
    return _RULES.get(sysctl, _NOT_SAID)


def ruled() -> tuple[str, ...]:
    """The sysctls of which more is known than that they hold numbers."""
    return tuple(_RULES)


def suppose(snapshot: Snapshot, values: Mapping[str, str]) -> Snapshot:
    """The look with these values in each namespace that has the sysctl."""
    namespaces = []
    for namespace in snapshot.namespaces:
        present = {name: value for name, value in values.items() if name in namespace.sysctls}
        kept = {name: namespace.sysctls[name] for name in present if rule(name).keeps}
        namespaces.append(replace(namespace, sysctls={**namespace.sysctls, **present}, kept=kept))
    return replace(snapshot, namespaces=tuple(namespaces))
