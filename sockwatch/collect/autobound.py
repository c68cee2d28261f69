"""Whose local port the kernel chose, and whose the program named: a walk that only some questions are worth."""

from dataclasses import replace

import numpy as np

from sockwatch.collect.bytecode import NAMED_PORT
from sockwatch.collect.dump import read_tcp
from sockwatch.collect.inet_diag import EVERY_STATE
from sockwatch.collect.merge import drop_doubles
from sockwatch.collect.netlink import NetlinkSocket
from sockwatch.collect.passes import Connect, Plain
from sockwatch.errors import DumpError
from sockwatch.model.identity import find_cookies
from sockwatch.model.snapshot import Gap
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, SHUTDOWN_UNKNOWN, SocketTable


def fill_autobound(table: SocketTable, connect: Connect = NetlinkSocket) -> tuple[SocketTable, tuple[Gap, ...]]:
    """The table of the calling thread's network namespace with the column `autobound`, or a gap that says why not.

    The kernel lists the sockets whose port was named, which are fewer: of the others, those that are in the table were
    autobound when it was read. Minisockets and requests stay unknown.
    """
    named = Plain()
    try:
        gaps = read_tcp(connect, EVERY_STATE, named, program=NAMED_PORT)
    except DumpError as error:
        return table, (Gap(what="autobound ports", why=str(error)),)
    drop_doubles(named.rows)
    column = np.where(table.shutdown == SHUTDOWN_UNKNOWN, AUTOBOUND_UNKNOWN, 1).astype(np.uint8)
    place = find_cookies(named.rows["cookie"], table.cookie)
    column[place[place >= 0]] = 0
    return replace(table, autobound=column), tuple(gaps)
