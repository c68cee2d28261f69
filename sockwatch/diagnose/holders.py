"""Who holds the sockets that no detector asks about: asked seldom, and believed in between."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.grouping import group
from sockwatch.model.identity import NOT_THERE, find_cookies
from sockwatch.model.snapshot import UNKNOWN, Cgroup, Gap, Owners, Process, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

EVERY_SECONDS = 60.0
"""How often it is asked who holds the sockets of which that is not known."""
BELIEVE_SECONDS = 300.0
"""How often it is asked for all: to verify the holders of ten thousand sockets takes more than all else of a poll."""
MOST_NAMED = 20_000
_GAP = "owners"
"""What collect calls the gap of holders that it could not see."""


def worth_naming(sockets: SocketTable) -> SocketTable:
    """Whose holders are worth that: everything that has a file, up to MOST_NAMED sockets.

    Of more only listeners, and one socket of each cgroup: that tells the unit of all the others.
    """
    held = np.flatnonzero(sockets.inode)
    if len(held) > MOST_NAMED:
        one_each = np.zeros(len(held), np.bool_)
        one_each[group(sockets.cgroup[held]).first] = True
        held = held[one_each | sockets.is_in_state(State.LISTEN)[held]]
    return sockets.take(held[:MOST_NAMED])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Holders:
    """Who held which socket when that was last asked: `owner` is an index in `processes`.

    A socket that has its cookie still is believed to be held by the same process. Of sockets without a file, whoever
    they are named after is named with a confidence; no verdict rests on it.
    """

    asked_at: float = float("-inf")
    """Seconds as Snapshot.monotonic."""
    asked_all_at: float = float("-inf")
    cookie: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    owner: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    processes: tuple[Process, ...] = ()
    cgroups: Mapping[int, Cgroup] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    """Whose holders could not be seen."""

    def to_ask(self, look: Snapshot) -> SocketTable:
        """Whose holders are to be asked: all that are worth it, or those of which none is known."""
        sockets = worth_naming(look.sockets)
        if self._believes_none(look):
            return sockets
        return sockets.take(find_cookies(sockets.cookie, self.cookie) == NOT_THERE)

    def renewed(self, look: Snapshot) -> "Holders":
        """With what a look knows that asked for them."""
        if self._believes_none(look):
            return Holders.seen_in(look).after(self, look)
        renewed = Holders.seen_in(self.complete(look)).after(self, look)
        return replace(renewed, asked_all_at=self.asked_all_at)

    def _believes_none(self, look: Snapshot) -> bool:
        return look.monotonic - self.asked_all_at >= BELIEVE_SECONDS

    @staticmethod
    def seen_in(look: Snapshot) -> "Holders":
        """What a look knows for which they were asked."""
        owner = look.owners.of(look.sockets)
        known = owner != UNKNOWN
        return Holders(
            asked_at=look.monotonic,
            asked_all_at=look.monotonic,
            cookie=look.sockets.cookie[known],
            owner=owner[known],
            processes=look.owners.processes,
            # Who is in them is told by place in the list of another look.
            cgroups={number: replace(cgroup, processes=()) for number, cgroup in look.owners.cgroups.items()},
            gaps=tuple(gap for gap in look.gaps if gap.what == _GAP),
        )

    def of(self, sockets: SocketTable) -> NDArray[np.int32]:
        """For each socket the index in `processes` of who held it, or UNKNOWN; by its cookie, also without a file."""
        place = find_cookies(self.cookie, sockets.cookie)
        known = np.flatnonzero(place != NOT_THERE)
        owner = np.full(len(sockets), UNKNOWN, np.int32)
        owner[place[known]] = self.owner[known]
        return owner

    def after(self, before: "Holders", look: Snapshot) -> "Holders":
        """These, and those of before whose sockets have lost their file since, and are still there."""
        place = find_cookies(before.cookie, look.sockets.cookie)
        there = np.flatnonzero(place != NOT_THERE)
        there = there[look.sockets.inode[place[there]] == 0][:MOST_NAMED]
        used, owner = np.unique(before.owner[there], return_inverse=True)
        return replace(
            self,
            cookie=np.concatenate([self.cookie, before.cookie[there]]),
            owner=np.concatenate([self.owner, (owner + len(self.processes)).astype(np.int32)]),
            processes=(*self.processes, *(before.processes[i] for i in used.tolist())),
        )

    def are_old(self, monotonic: float) -> bool:
        """Whether it is time to ask again."""
        return monotonic - self.asked_at >= EVERY_SECONDS

    def with_gaps(self, look: Snapshot) -> Snapshot:
        """The look with the gaps of when they were asked, unless it has such of its own."""
        if any(gap.what == _GAP for gap in look.gaps):
            return look
        return replace(look, gaps=look.gaps + self.gaps)

    def complete(self, look: Snapshot) -> Snapshot:
        """The look with these holders of the sockets that it knows no holder of."""
        sockets, owners = look.sockets, look.owners
        place = find_cookies(self.cookie, sockets.cookie)
        mine = np.flatnonzero(place != NOT_THERE)
        rows = place[mine]
        new = (sockets.inode[rows] != 0) & ~np.isin(sockets.inode[rows], owners.inodes)
        rows, owner = rows[new], self.owner[mine[new]]
        processes, number = list(owners.processes), {(p.pid, p.started): i for i, p in enumerate(owners.processes)}
        index = np.full(len(self.processes), UNKNOWN, np.int32)
        for i in np.unique(owner).tolist():
            process = self.processes[i]
            if (process.pid, process.started) not in number:
                number[process.pid, process.started] = len(processes)
                processes.append(process)
            index[i] = number[process.pid, process.started]
        inodes = np.concatenate([owners.inodes, sockets.inode[rows]])
        inodes, first = np.unique(inodes, return_index=True)
        return replace(
            look,
            owners=Owners(
                processes=tuple(processes),
                inodes=inodes,
                first=np.concatenate([owners.first, index[owner]])[first],
                others=owners.others,
                cgroups={**self.cgroups, **owners.cgroups},
            ),
        )
