"""A new SYN met an old connection with the same addresses and ports, which one side had forgotten.

What it sees:
    At one look a socket in SYN_SENT, after its SYN was repeated, whose other end on this host is not a listener but a
    live connection. Between two looks connections that were stale (in CLOSE_WAIT or half-closed for long, or idle for
    long) and gave way to a new one with the same addresses and ports, while the kernel challenged SYNs.

Why it matters:
    The old socket does not accept the SYN: it answers with a challenge ACK (RFC 5961), the client resets the old
    connection and repeats its SYN, so that connecting takes a second longer. Where a firewall drops the challenge or
    the reset the client gets no connection at all, for as long as the old socket lives.

Kernel fields:
    idiag_state, idiag_retrans and the addresses and ports at both ends; idiag_cookie tells a new socket from the old
    one; TcpExt.TCPSYNChallenge and .TCPChallengeACK count the challenges.

When it is wrong:
    A SYN-ACK that is repeated because an ACK was lost counts as challenge too, so the counters alone say nothing here.
    With fewer challenges than replaced connections, or at a client, it is info: a client with a fixed source port may
    just have closed and connected again. Two looks miss a clash on a connection that the first of them did not see, or
    whose client is on another host and never gets through.

What to do:
    Close what the peer has closed: a stale CLOSE_WAIT is a leak of this program. For peers that vanish use keepalive,
    which finds the old connection before its ports come back. A wider ip_local_port_range at the client makes ports
    come back later.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import age, role
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import NOT_HERE, describe_ends, find_ends, other_ends
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, service_end, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import NO_DETAIL, SocketTable
from sockwatch.model.state import State, Timer

CODE = "tuple_clash"
SYNCHRONIZED = (
    State.ESTABLISHED,
    State.CLOSE_WAIT,
    State.FIN_WAIT_1,
    State.FIN_WAIT_2,
    State.CLOSING,
    State.LAST_ACK,
)
CHALLENGES = "TcpExt.TCPSYNChallenge"

ADVICE = (
    Advice(
        name="net.ipv4.tcp_keepalive_time",
        effect=Effect.HELPS,
        why="where the program asks for keepalive, a vanished peer is noticed after this time instead of never",
    ),
    Advice(
        name="net.ipv4.ip_local_port_range",
        effect=Effect.LIMITS,
        why="at the client a wider range makes a source port come back later",
    ),
    Advice(
        name="net.ipv4.tcp_challenge_ack_limit",
        effect=Effect.NONE,
        why="it bounds how many challenges are sent; they are what heals this",
    ),
    Advice(
        name="net.ipv4.tcp_rfc1337",
        effect=Effect.NONE,
        why="it is about RST in TIME_WAIT; a SYN that meets TIME_WAIT is accepted anyway",
    ),
)

BLOCKED = Telling(
    summary="{who} still holds {how_many} that clients try to open anew",
    cause="The clients have forgotten the old connections and send SYNs with the same addresses and ports. The old "
    "sockets answer with challenge ACKs, and the resets that should follow do not arrive.",
    remedies=(
        "Close the old connections: restart {who}, or make it notice peers that are gone (keepalive, timeouts).",
        "Look for a firewall between both ends that drops ACKs or RSTs of connections it does not know.",
    ),
    advice=ADVICE,
)
REPLACED = Telling(
    summary="{who} held {how_many} that the peers had forgotten, until new ones with the same ports came",
    cause="Each new SYN met an old socket, drew a challenge ACK instead of an answer, and got through only after the "
    "old connection was reset: connecting took a second longer, and the program's old descriptors are dead.",
    remedies=(
        "Make {who} close connections whose end it has read, and give up those that are silent (keepalive, timeouts).",
        "At the client use more source ports, or connections that live longer, so that ports come back later.",
    ),
    advice=ADVICE,
)


def detect(window: Window, settings: Settings) -> Iterator[Finding]:
    """One finding per process and service end for what is blocked now, and one for what was replaced."""
    yield from _tell(window, window.once(_blocked), BLOCKED)
    replaced, states = _replaced(window, settings)
    yield from _tell(window, replaced, REPLACED, states)


def suspects(window: Window, settings: Settings) -> SocketTable:
    """The sockets, their listeners, and the clients."""
    sockets = SocketTable.concatenate([window.once(_blocked), _replaced(window, settings)[0]])
    queued = sockets.take(sockets.inode == 0)
    return SocketTable.concatenate(
        [sockets, find_ends(window.current, sockets).sockets, role.listeners_of(window.current, queued)]
    )


def _tell(
    window: Window, sockets: SocketTable, telling: Telling, before: NDArray[np.uint8] | None = None
) -> Iterator[Finding]:
    serving = role.serves(window.current, sockets)
    for rows, folded in split(window.owners.of(sockets), *service_end(sockets, serving), apart=(sockets.netns,)):
        chosen = sockets.take(rows)
        states = chosen.state if before is None else before[rows]
        evidence: Evidence = {"state_of_the_old": State(int(np.bincount(states).argmax())).label}
        for name, counter in {"challenged_syns": CHALLENGES, "challenge_acks": "TcpExt.TCPChallengeACK"}.items():
            increase = window.increase(int(chosen.netns[0]), counter)
            if increase is not None:
                evidence[name] = increase
        queued = chosen.take(chosen.inode == 0)
        # A client that closed and reconnects from its fixed port is no clash; a challenge elsewhere proves nothing.
        seen = before is None or (serving[rows].all() and int(evidence.get("challenged_syns", 0)) >= len(chosen))
        yield tell(
            window,
            chosen,
            telling,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.WARNING if seen else Severity.INFO,
            subject=subject(window, chosen),
            held=SocketTable.concatenate([chosen, role.listeners_of(window.current, queued)]),
            other_end=describe_ends(find_ends(window.current, chosen), window.owners),
            evidence=evidence if seen else evidence | {"confidence": "low"},
        )


def _blocked(window: Window) -> SocketTable:
    """The live sockets that a SYN, repeated at least once, is sent to from this host."""
    sockets = window.sockets.in_state(State.SYN_SENT)
    sockets = sockets.take(sockets.retransmits > 0)
    rows = other_ends(window.current, sockets)
    met = window.sockets.take(rows[rows != NOT_HERE])
    return met.take(met.is_in_state(*SYNCHRONIZED) & (met.timer != Timer.TIME_WAIT))


def _replaced(window: Window, settings: Settings) -> tuple[SocketTable, NDArray[np.uint8]]:
    """The sockets that took the place of a stale one with the same four-tuple, and the states of those."""
    nothing = SocketTable.empty(), np.empty(0, np.uint8)
    challenged = [(window.increase(index, CHALLENGES) or 0) > 0 for index in range(len(window.namespaces))]
    if window.elapsed is None or not any(challenged):
        return nothing
    old = _stale(window, settings)
    sockets = window.sockets
    old = old.take(~np.isin(old.cookie, sockets.cookie))
    rows = np.flatnonzero(sockets.is_in_state(*SYNCHRONIZED) & np.array(challenged)[sockets.netns])
    rows = rows[np.isin(sockets.sport[rows], old.sport) & np.isin(sockets.dport[rows], old.dport)]
    if not len(old) or not len(rows):
        return nothing
    new = sockets.take(rows)
    names = ("netns", "sport", "dport", "src_hi", "src_lo", "dst_hi", "dst_lo")
    groups = group(*(np.concatenate([getattr(old, name), getattr(new, name)]) for name in names))
    state = np.zeros(len(groups), np.uint8)
    state[groups.index[: len(old)]] = old.state
    states = state[groups.index[len(old) :]]
    return new.take(states != 0), states[states != 0]


def _stale(window: Window, settings: Settings) -> SocketTable:
    """The sockets of the look before that only one side may still have known; netns is that of this look."""
    if window.previous is None:
        return SocketTable.empty()
    sockets = window.previous.sockets
    may_last = sockets.is_in_state(State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2)
    sockets = sockets.take(may_last & (sockets.timer != Timer.TIME_WAIT) & (sockets.detail_row != NO_DETAIL))
    half_closed = age.ages(Window(current=window.previous), sockets).surely(settings.min_age)
    silent = np.fmin(sockets.detail("last_data_sent"), sockets.detail("last_data_recv")) >= settings.min_age * 1e3
    sockets = sockets.take(half_closed | (sockets.is_in_state(State.ESTABLISHED) & silent))
    now = np.full(len(window.previous.namespaces), -1)
    for index in range(len(window.namespaces)):
        before = window.number_before(index)
        if before is not None:
            now[before] = index
    known = now[sockets.netns] >= 0
    return replace(sockets.take(known), netns=now[sockets.netns[known]].astype(np.uint16))


DETECTOR = Detector(
    asks=Asks(
        states=frozenset({State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2}),
        details=age.DETAILS | role.DETAILS,
        sysctls=frozenset(a.name for a in ADVICE),
    ),
    settings=Settings(),
    detect=detect,
    suspects=suspects,
)
