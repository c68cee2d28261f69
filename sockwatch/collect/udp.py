"""Every UDP socket of a network namespace, with what its receive buffer holds and has dropped."""

import socket

from sockwatch.collect.attributes import FIELDS, extensions_for
from sockwatch.collect.inet_diag import FAMILIES, request_family
from sockwatch.collect.netlink import NetlinkSocket
from sockwatch.collect.passes import ABSENT, DETAIL_LIMIT, Closer, Connect, read_families
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Gap
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

DETAILS = ("skmem_drops", "skmem_rmem_alloc", "skmem_rcvbuf")
_WHAT = "UDP sockets"


def read_udp(connect: Connect = NetlinkSocket) -> tuple[SocketTable, tuple[Gap, ...]]:
    """UDP sockets of the calling thread's network namespace with DETAILS; `netns` is 0 in every row.

    A socket without a remote end is in CLOSE. What cannot be read is a gap: TCP is what the sockets are read for.
    """
    fields = {name: FIELDS[name] for name in DETAILS}
    extensions = extensions_for(field.attribute for field in fields.values())
    states = frozenset({State.ESTABLISHED, State.CLOSE})
    closer = Closer(fields, DETAIL_LIMIT)
    requests = [request_family(family, states, extensions, protocol=socket.IPPROTO_UDP) for family in FAMILIES]
    try:
        gaps = read_families(connect, requests, closer)
    except DumpError as error:
        if error.errno in ABSENT:
            return SocketTable.empty(), (Gap(what=_WHAT, why="load the kernel module udp_diag"),)
        return SocketTable.empty(), (Gap(what=_WHAT, why=str(error)),)
    if closer.full:
        gaps.append(Gap(what=_WHAT, why=f"there are more than the {DETAIL_LIMIT:,} that are read"))
    table = closer.table()
    table.state[table.state == State.BOUND] = State.CLOSE
    return table, tuple(gaps)
