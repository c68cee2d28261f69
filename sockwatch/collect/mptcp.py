"""The MPTCP sockets of a network namespace: what programs hold where the TCP sockets are only its subflows."""

from collections.abc import Mapping

from sockwatch.collect.attributes import MPTCP_FIELDS, extensions_for
from sockwatch.collect.inet_diag import EVERY_STATE, FAMILIES, request_family
from sockwatch.collect.netlink import NetlinkSocket
from sockwatch.collect.passes import ABSENT, DETAIL_LIMIT, Closer, Connect, kernel_is_at_least, read_families
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Gap
from sockwatch.model.sockets import SocketTable

IPPROTO_MPTCP = 262
_WHAT = "MPTCP sockets"
_LISTED_SINCE = (5, 9)
"""With net/mptcp/mptcp_diag.c. An older kernel would not see the wide protocol number, and list raw sockets instead."""


def read_mptcp(counters: Mapping[str, int], connect: Connect = NetlinkSocket) -> tuple[SocketTable, tuple[Gap, ...]]:
    """MPTCP sockets of the calling thread's network namespace with MPTCP_FIELDS; `netns` is 0 in every row.

    `counters` are those of the namespace: a kernel that does not list these sockets is a gap only where MPTCP has been
    used since boot. Raises no DumpError: TCP is what the sockets are read for.
    """
    used = any(number for name, number in counters.items() if name.startswith("MPTcpExt."))
    if not kernel_is_at_least(*_LISTED_SINCE):
        return SocketTable.empty(), _unseen("this kernel does not list them (Linux 5.9)", used=used)
    extensions = extensions_for(field.attribute for field in MPTCP_FIELDS.values())
    closer = Closer(MPTCP_FIELDS, DETAIL_LIMIT)
    requests = [request_family(family, EVERY_STATE, extensions, protocol=IPPROTO_MPTCP) for family in FAMILIES]
    try:
        gaps = read_families(connect, requests, closer)
    except DumpError as error:
        if error.errno in ABSENT:
            return SocketTable.empty(), _unseen("load the kernel module mptcp_diag", used=used)
        return SocketTable.empty(), (Gap(what=_WHAT, why=str(error)),)
    if closer.full:
        gaps.append(Gap(what=_WHAT, why=f"there are more than the {DETAIL_LIMIT:,} that are read"))
    return closer.table(), tuple(gaps)


def _unseen(why: str, *, used: bool) -> tuple[Gap, ...]:
    return (Gap(what=_WHAT, why=why),) if used else ()
