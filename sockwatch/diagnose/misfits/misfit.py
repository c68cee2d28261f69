"""What a check of a sysctl looks at, and what it says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sockwatch.diagnose.detector import Settings
from sockwatch.diagnose.ports import PortBudget
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect
from sockwatch.model.snapshot import Namespace
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

DEFAULTS: Mapping[str, int] = {
    "net.core.somaxconn": 4096,
    "net.ipv4.tcp_abort_on_overflow": 0,
    "net.ipv4.tcp_fin_timeout": 60,
    "net.ipv4.tcp_keepalive_intvl": 75,
    "net.ipv4.tcp_keepalive_probes": 9,
    "net.ipv4.tcp_keepalive_time": 7200,
    "net.ipv4.tcp_orphan_retries": 0,
    "net.ipv4.tcp_retries2": 15,
    "net.ipv4.tcp_rfc1337": 0,
    "net.ipv4.tcp_syncookies": 1,
    "net.ipv4.tcp_timestamps": 1,
    "net.ipv4.tcp_tw_reuse": 2,
    "net.ipv4.tcp_tw_reuse_delay": 1000,
}
"""What the kernel starts with where it does not depend on memory (tcp_sk_init in net/ipv4/tcp_ipv4.c)."""

EHASH_ENTRIES = "net.ipv4.tcp_ehash_entries"
"""The size of the table of connections, negative in a namespace that shares the initial one's (v6.1, d1e5e6408b30)."""

OLD_SOMAXCONN = 128
"""net.core.somaxconn before v5.4 (19f92a030ca6): no sign that anybody lowered it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MisfitSettings(Settings):
    """From where on a host does what a setting does not fit."""

    sockets: int = 20
    """A setting about connections without an answer, or about keepalive: how many of them it concerns."""
    time_wait_sockets: int = 20
    """A setting made for TIME_WAIT: sockets in it."""
    time_wait_share: Share = 0.25
    """A setting made for TIME_WAIT: the share of all sockets that is in it."""
    used: Share = 0.5
    """A setting about source ports: the used share of a port budget."""
    reserved_share: Share = 0.1
    """ip_local_reserved_ports: the share of the range that it takes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One setting that does not fit, with the sockets it concerns; `values` are the sysctls by name, as they are."""

    values: Mapping[str, str]
    effect: Effect
    summary: str
    why: str
    remedy: str
    sockets: SocketTable


@dataclass(frozen=True, kw_only=True, eq=False)
class Host:
    """One namespace, as the checks see it.

    What costs time is computed when a check asks for it: first look whether the setting was touched, then at sockets.
    """

    window: Window
    netns: int
    settings: MisfitSettings
    every_budget: Callable[[], tuple[PortBudget, ...]]

    @property
    def namespace(self) -> Namespace:
        """With its sysctls and counters."""
        return self.window.namespaces[self.netns]

    def number(self, sysctl: str) -> int | None:
        """The sysctl as a number; None where it is absent."""
        return self.namespace.number(sysctl)

    def changed(self, sysctl: str) -> int | None:
        """The sysctl as a number where it is another than the kernel starts with, else None."""
        value = self.number(sysctl)
        return None if value == DEFAULTS[sysctl] else value

    def scaled_default(self, divisor: int) -> int | None:
        """A default that is the size of the table of connections divided by so many; None where that is not known."""
        entries = self.number(EHASH_ENTRIES)
        return abs(entries) // divisor if entries else None

    @cached_property
    def sockets(self) -> SocketTable:
        """The sockets of the namespace."""
        every = self.window.sockets
        return every if len(self.window.namespaces) == 1 else every.take(every.netns == self.netns)

    @cached_property
    def listeners(self) -> SocketTable:
        """The sockets in LISTEN."""
        return self.sockets.in_state(State.LISTEN)

    @cached_property
    def overflowing(self) -> SocketTable:
        """The listeners whose accept queue is over its limit now."""
        return self.listeners.take(self.listeners.recv_q > self.listeners.send_q)

    @cached_property
    def waiting(self) -> SocketTable:
        """The sockets in TIME_WAIT."""
        return self.sockets.in_state(State.TIME_WAIT)

    @cached_property
    def waiting_on_listeners(self) -> SocketTable:
        """Those in TIME_WAIT that were accepted: they are on a port that is listened on."""
        return self.waiting.take(np.isin(self.waiting.sport, self.listeners.sport))

    @property
    def many_waiting(self) -> float:
        """How many sockets in TIME_WAIT are what somebody may have turned a knob for."""
        return max(self.settings.time_wait_sockets, self.settings.time_wait_share * len(self.sockets))

    @cached_property
    def budgets(self) -> tuple[PortBudget, ...]:
        """The port budgets that are used enough, fullest first."""
        return tuple(budget for budget in self.every_budget() if budget.namespace is self.namespace)

    @cached_property
    def waiting_budget(self) -> PortBudget | None:
        """The fullest port budget of which TIME_WAIT holds at least half."""
        return next((b for b in self.budgets if 2 * b.time_wait >= b.used and b.time_wait), None)

    def values(self, *sysctls: str) -> Mapping[str, str]:
        """These sysctls as they are, those that are absent left out."""
        known = self.namespace.sysctls
        return {name: " ".join(known[name].split()) for name in sysctls if name in known}


def last_part(sysctl: str) -> str:
    """The name as people say it: `tcp_fin_timeout`."""
    return sysctl.rpartition(".")[2]
