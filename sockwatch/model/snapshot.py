"""What one look at the kernel brought back; the only input of a diagnosis."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

_NUMBER = re.compile(r"-?[0-9]{1,19}")
"""What fits the widest sysctl; a capture may hold anything."""
_PORT = re.compile(r"[0-9]{1,5}")

COUNTED_BY_KERNEL = frozenset({State.TIME_WAIT, State.ESTABLISHED})
"""The states whose sockets need not be read to be counted."""

UNKNOWN = -1
"""No process: in the arrays that say which process holds a socket."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Gap:
    """Something that could not be looked at: "could not look" is never "fine".

    `fatal` gaps make the status unknown (a dump or a detector that failed); the others only say what was not seen.
    """

    what: str
    why: str
    count: int = 1
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What a detector needs from collect: the pipeline hands over the union of all detectors."""

    states: frozenset[State] = frozenset()
    """Sockets in these states are read a second time, with `details`."""
    unread: frozenset[State] = frozenset()
    """Sockets in these states are not read at all; only those of COUNTED_BY_KERNEL can be left out."""
    most_established: int | None = None
    """How many established sockets are read a second time at most; None leaves that to collect."""
    details: frozenset[str] = frozenset()
    """Fields of struct tcp_info and SKMEMINFO, by their kernel names without tcpi_ (`skmem_drops` for SKMEMINFO)."""
    sysctls: frozenset[str] = frozenset()
    """Full names."""
    udp: bool = False
    """Snapshot.udp"""
    mptcp: bool = False
    """Snapshot.mptcp"""
    sysctl_files: bool = False
    """Snapshot.sysctl_files"""

    @staticmethod
    def union(asks: Iterable["Asks"]) -> "Asks":
        """Everything that any of them asks for; what is left out is nobody's wish, and not in it."""
        every = tuple(asks)
        return Asks(
            states=frozenset().union(*(a.states for a in every)),
            details=frozenset().union(*(a.details for a in every)),
            sysctls=frozenset().union(*(a.sysctls for a in every)),
            udp=any(a.udp for a in every),
            mptcp=any(a.mptcp for a in every),
            sysctl_files=any(a.sysctl_files for a in every),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FollowUp:
    """What detectors want to know about a look once they have seen it; a healthy host pays nothing for it."""

    suspects: SocketTable
    """Sockets whose holders are named; some may be in it twice."""
    autobound: bool = False
    """Whether the column `autobound` is filled."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Detectors that could not say what they want, by their code, and why."""

    @staticmethod
    def union(*wanted: "FollowUp") -> "FollowUp":
        """Everything that any of them wants."""
        return FollowUp(
            suspects=SocketTable.concatenate([one.suspects for one in wanted]),
            autobound=any(one.autobound for one in wanted),
            failed={code: why for one in wanted for code, why in one.failed.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """What the path of a cgroup tells, None for what it does not.

    `unit` is the systemd service or scope, `unit_manager` the user's service manager that runs it, None where it is
    the system's (`user@1000.service`). `container` is 12 characters of its id, or its name; `runtime` is docker,
    containerd, podman, cri-o or lxc; `pod` is a Kubernetes pod's uid.

    Of the cgroup in which a socket was created, `gone` says that it was removed since, and `processes` are those that
    are in it now, as indexes of Owners.processes, oldest first.
    """

    unit: str | None = None
    unit_manager: str | None = None
    container: str | None = None
    runtime: str | None = None
    pod: str | None = None
    gone: bool = False
    processes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that holds sockets. `started` is seconds since 1970; pid and started together are its identity.

    `since_boot` is its start as Snapshot.monotonic counts, which setting a clock does not move; None in older captures.

    Names are what the process chose, made printable: untrusted. `command` is the command line as a shell would take it,
    what looks like a secret left out; `user` a name, or a uid in digits. Unit, container and pod are those of Cgroup.
    `fds` and `fd_limit` are how many files it has open and may have (RLIMIT_NOFILE, soft). None is what could not be
    read.
    """

    pid: int
    name: str
    started: float
    command: str | None = None
    user: str | None = None
    unit: str | None = None
    unit_manager: str | None = None
    container: str | None = None
    runtime: str | None = None
    pod: str | None = None
    fds: int | None = None
    fd_limit: int | None = None
    since_boot: float | None = None

    def age(self, look: "Snapshot") -> float:
        """Seconds that it had run when a look began."""
        return look.time - self.started if self.since_boot is None else look.monotonic - self.since_boot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Owners:
    """Which processes hold the sockets that somebody asked about: inode -> every holder.

    `inodes` is sorted; `first` is for each of them the index of its oldest holder in `processes`; `others` has the
    further holders of the inodes that more than one process holds. `cgroups` are those in which these sockets were
    created, by the id that the kernel gives (the `cgroup` column), as far as they say anything.
    """

    processes: tuple[Process, ...] = ()
    inodes: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    first: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    others: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    cgroups: Mapping[int, Cgroup] = field(default_factory=dict)

    def of(self, sockets: SocketTable) -> NDArray[np.int32]:
        """For each socket the index in `processes` of its oldest holder, or UNKNOWN."""
        if not len(self.inodes):
            return np.full(len(sockets), UNKNOWN, np.int32)
        at = np.minimum(np.searchsorted(self.inodes, sockets.inode), len(self.inodes) - 1)
        known = (self.inodes[at] == sockets.inode) & (sockets.inode != 0)
        return np.where(known, self.first[at], UNKNOWN).astype(np.int32)

    def holders(self, sockets: SocketTable) -> tuple[Process, ...]:
        """Every process that holds any of these sockets, oldest first."""
        indexes = set(self.of(sockets).tolist()) - {UNKNOWN}
        if self.others:
            for inode in np.unique(sockets.inode).tolist():
                indexes.update(self.others.get(inode, ()))
        return tuple(sorted((self.processes[i] for i in indexes), key=lambda p: (p.started, p.pid)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """One network namespace that was looked at; `netns` of a socket is its index in Snapshot.namespaces.

    `name` is "host" for the initial one, else the name it was asked by or has in /run/netns, else that of the container
    that it is of, else `net:[INODE]`; no two of a look have the same. `cookie` is a number that no other namespace of
    this boot has, which an inode may have; 0 where the kernel has none (v5.14). `counters` are
    /proc/net/{snmp,netstat,sockstat} as `TcpExt.ListenOverflows`, `sockstat.TCP.tw`. A sysctl or counter that is not
    there is one that this kernel or namespace does not have; those that count the whole host are in the initial one
    only. `lists_bound` says whether this kernel
    lists sockets that are bound and not connected (TCPF_BOUND_INACTIVE, v6.8, 91051f003948). `kept` is empty but for
    `check --what-if`: there `sysctls` has what is supposed, and `kept` the real values that the sockets go on with.
    """

    name: str
    inode: int
    initial: bool
    lists_bound: bool
    cookie: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    counted: Mapping[State, int | None] = field(default_factory=dict)
    """The states whose sockets were not read, with how many the kernel counts, None where it does not."""

    def number(self, sysctl: str) -> int | None:
        """The sysctl as a number; None where it is absent or no single number."""
        return _number(self.sysctls.get(sysctl, ""))

    def number_kept(self, sysctl: str) -> int | None:
        """As `number`, of a sysctl that sockets read once: what those of this look were made with."""
        return _number(self.kept.get(sysctl, self.sysctls.get(sysctl, "")))

    def port_range(self) -> tuple[int, int] | None:
        """net.ipv4.ip_local_port_range, both ends inclusive; it holds for IPv6 as well. None where it is no range."""
        ends = self.sysctls.get("net.ipv4.ip_local_port_range", "").split()
        return (int(ends[0]), int(ends[1])) if len(ends) == 2 and all(map(_is_port, ends)) else None  # noqa: PLR2004

    def reserved_ports(self) -> NDArray[np.bool_]:
        """net.ipv4.ip_local_reserved_ports as a mask over the 65536 ports."""
        reserved = np.zeros(65536, np.bool_)
        for part in self.sysctls.get("net.ipv4.ip_local_reserved_ports", "").strip().split(","):
            low, _, high = part.partition("-")
            if _is_port(low) and _is_port(high or low):
                reserved[int(low) : int(high or low) + 1] = True
        return reserved


def _number(value: str) -> int | None:
    return int(value) if _NUMBER.fullmatch(value.strip()) else None


def _is_port(text: str) -> bool:
    """Whether this is a port number; what a capture says may be anything."""
    return _PORT.fullmatch(text) is not None and int(text) < 65536  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlSetting:
    """A line of a sysctl file: the sysctl with its full name in dots, what it is set to, and where.

    `name` and `value` are what the file says, made printable: untrusted, and maybe no sysctl of this kernel.
    """

    name: str
    value: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Snapshot:
    """One look.

    `time` is seconds since 1970 for people; `monotonic` is seconds since boot, for durations: when the reading began.
    Each socket was read within the `took` seconds after that.

    `sockets` are TCP's; the others are there only if somebody asked. `udp` has details of SKMEMINFO, and its states are
    CLOSE (not connected) and ESTABLISHED. `mptcp` are the sockets that programs hold where TCP's are their subflows:
    both have the inode. Their `recv_q` is the memory of what was not read, which a FIN does not add to, and they have
    fewer details than TCP's (attributes.MPTCP_FIELDS). `sysctl_files` is what the host sets at boot: of each `net.`
    sysctl the line that wins.
    """

    time: float
    monotonic: float
    host: str
    kernel: str
    namespaces: tuple[Namespace, ...]
    sockets: SocketTable
    took: float = 0.0
    owners: Owners = field(default_factory=Owners)
    gaps: tuple[Gap, ...] = ()
    udp: SocketTable = field(default_factory=SocketTable.empty)
    mptcp: SocketTable = field(default_factory=SocketTable.empty)
    sysctl_files: tuple[SysctlSetting, ...] = ()
    cpu_elsewhere: float = 0.0
    """CPU seconds that this look took on other threads than the caller's: namespaces are entered by such."""

    @property
    def unread(self) -> frozenset[State]:
        """The states of which some sockets were not read."""
        return frozenset().union(*(namespace.counted for namespace in self.namespaces))
