"""Settings that say how long the kernel tries, and how many closed sockets it keeps."""

from collections.abc import Iterator

from sockwatch.diagnose.misfits.misfit import DEFAULTS, Host, Misfit, last_part
from sockwatch.diagnose.verdict import plural
from sockwatch.model.finding import Effect
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

KEEPALIVE = ("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes")
MAX_ORPHANS = "net.ipv4.tcp_max_orphans"
ORPHAN_RETRIES = "net.ipv4.tcp_orphan_retries"
RETRIES2 = "net.ipv4.tcp_retries2"

USUAL_ORPHAN_RETRIES = 8
"""What tcp_orphan_retries=0 means (tcp_orphan_retries in net/ipv4/tcp_timer.c)."""
FEWEST_RETRIES2 = 8
"""About 100 s, the least that RFC 1122 (4.2.3.5) allows."""
FIN_ALONE = 1
"""What the send queue holds when all but the FIN is acknowledged."""


def keepalive(host: Host) -> Iterator[Misfit]:
    """They do nothing for sockets without SO_KEEPALIVE."""
    changed = [name for name in KEEPALIVE if host.changed(name) is not None]
    if not changed:
        return
    sockets = host.sockets
    # With data in flight the retransmission timer hides whether keepalive is on: only idle sockets tell.
    is_idle = sockets.is_in_state(State.ESTABLISHED) & (sockets.inode != 0) & (sockets.timer == Timer.OFF)
    used = ((sockets.timer == Timer.KEEPALIVE) & (sockets.inode != 0)).any()
    if used or is_idle.sum() < host.settings.sockets:
        return
    idle = sockets.take(is_idle)
    names = ", ".join(f"{last_part(name)}={host.number(name)}" for name in changed)
    yield Misfit(
        values=host.values(*changed),
        effect=Effect.NONE,
        summary=f"{names} does nothing for {plural(len(idle), 'idle connection')} without keepalive",
        why="keepalive is off until the application sets SO_KEEPALIVE; the sysctls only say how it then works",
        remedy="Have the application set SO_KEEPALIVE (many have a setting for it).",
        sockets=idle,
    )


def retries2(host: Host) -> Iterator[Misfit]:
    """How often data of a connection that somebody holds is repeated; closed sockets have tcp_orphan_retries."""
    retries = host.changed(RETRIES2)
    if retries is None:
        return
    sockets = _repeating(host)
    held = sockets.take(sockets.inode != 0)
    if not len(held) and len(sockets) >= host.settings.sockets:
        yield Misfit(
            values=host.values(RETRIES2),
            effect=Effect.NONE,
            summary=f"tcp_retries2={retries} does nothing for {plural(len(sockets), 'unanswered closed socket')}",
            why="it is about connections that a process holds; closed ones have tcp_orphan_retries",
            remedy="Leave it at 15, and look at tcp_orphan_retries.",
            sockets=sockets,
        )
    elif retries < FEWEST_RETRIES2 and len(held) >= host.settings.sockets:
        yield Misfit(
            values=host.values(RETRIES2),
            effect=Effect.HELPS,
            summary=f"tcp_retries2={retries} gives {plural(len(held), 'connection')} up that repeat their data now",
            why="3 gives up after about 7 s, 8 after 107 s, 15 (the default) after 15 minutes; a short outage of the "
            "network must not take that long",
            remedy="Set it to 8 at least: sysctl -w net.ipv4.tcp_retries2=8. For one application use TCP_USER_TIMEOUT.",
            sockets=held,
        )
    overdue = held.take(held.retransmits > DEFAULTS[RETRIES2])
    if retries > DEFAULTS[RETRIES2] and len(overdue):
        yield Misfit(
            values=host.values(RETRIES2),
            effect=Effect.HELPS,
            summary=f"tcp_retries2={retries} keeps {plural(len(overdue), 'connection')} that the default had given up",
            why="each further try adds two minutes; 15, the default, is 15 minutes",
            remedy="Set it back: sysctl -w net.ipv4.tcp_retries2=15.",
            sockets=overdue,
        )


def orphan_retries(host: Host) -> Iterator[Misfit]:
    """How often a closed socket repeats its data and FIN."""
    retries = host.changed(ORPHAN_RETRIES)
    if retries is None or retries == USUAL_ORPHAN_RETRIES:
        return
    sockets = _repeating(host)
    closed = sockets.take(sockets.inode == 0)
    unsent = closed.take(closed.send_q > FIN_ALONE)
    if retries > USUAL_ORPHAN_RETRIES and len(closed) >= host.settings.sockets:
        yield Misfit(
            values=host.values(ORPHAN_RETRIES),
            effect=Effect.HELPS,
            summary=f"tcp_orphan_retries={retries} keeps {plural(len(closed), 'unanswered closed socket')} longer than "
            "the default",
            why="0, the default, means 8 tries, 102 s or a little more; each further one adds up to two minutes",
            remedy="Set it back: sysctl -w net.ipv4.tcp_orphan_retries=0.",
            sockets=closed,
        )
    elif retries < USUAL_ORPHAN_RETRIES and len(unsent) >= host.settings.sockets:
        yield Misfit(
            values=host.values(ORPHAN_RETRIES),
            effect=Effect.HELPS,
            summary=f"tcp_orphan_retries={retries} drops unsent data of {plural(len(unsent), 'closed socket')} soon",
            why="1 gives up after about 2 s, 3 after 7 s, 0 (the default) means 8 and some 102 s; what close() left in "
            "the send queue is lost then",
            remedy="Set it back: sysctl -w net.ipv4.tcp_orphan_retries=0.",
            sockets=unsent,
        )


def max_orphans(host: Host) -> Iterator[Misfit]:
    """Lowered below what the kernel chose, and half reached."""
    limit, default = host.number(MAX_ORPHANS), host.scaled_default(2)
    orphans = host.namespace.counters.get("sockstat.TCP.orphan")
    if limit is None or default is None or orphans is None or limit >= default or 2 * orphans <= limit:
        return
    closing = host.sockets.in_state(State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK)
    yield Misfit(
        values=host.values(MAX_ORPHANS),
        effect=Effect.HELPS,
        summary=f"tcp_max_orphans={limit} was lowered, and {orphans:,} closed sockets count against it",
        why=f"the kernel chose {default:,} for this machine; beyond the limit close() resets connections whose data "
        "has not arrived",
        remedy=f"Set it back: sysctl -w net.ipv4.tcp_max_orphans={default}.",
        sockets=closing.take((closing.inode == 0) & (closing.timer != Timer.TIME_WAIT)),
    )


def _repeating(host: Host) -> SocketTable:
    """The sockets that repeat data or a FIN because no answer comes."""
    sockets = host.sockets
    states = (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK)
    return sockets.take(
        sockets.is_in_state(*states) & (sockets.timer == Timer.RETRANSMIT) & (sockets.retransmits > 0),
    )
