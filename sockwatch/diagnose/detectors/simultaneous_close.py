"""Both sides closed at the same moment, and this side still waits for the ACK of its FIN.

What it sees:
    Sockets in CLOSING that have sent their FIN more than once, or cannot send it, per process and service.

Why it matters:
    Harmless as such: each side sent its FIN before it got the other's (RFC 9293, figure 13). CLOSING normally lasts one
    round trip. Sockets that are seen in it tell of ACKs that get lost on their way here, or of a peer that vanished
    right after its FIN.

Kernel fields:
    idiag_state, idiag_timer and idiag_retrans; the FIN that came renewed tcpi_last_ack_recv and not
    tcpi_last_data_recv, which bound the age.

When it is wrong:
    Never about the state. A socket that leaves CLOSING within one round trip is left out on purpose.

What to do:
    Nothing. The kernel repeats the FIN and gives up by itself: after tcp_orphan_retries if the socket is closed, after
    tcp_retries2 while the program holds it. If there are many, look for what drops packets on the way back.
"""

from collections.abc import Iterator

from sockwatch.diagnose import role
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import describe_ends, find_ends
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, age_evidence, service_end, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

CODE = "simultaneous_close"

TELLING = Telling(
    summary="{how_many} closed from both sides at once: CLOSING, and the ACK of the FIN is missing",
    cause="Each side sent its FIN before it got the other's. This side has got the other's FIN, and not yet the ACK of "
    "its own; it repeats the FIN until that comes, and then waits in TIME_WAIT.",
    remedies=("Nothing to do: the kernel ends it. If there are many, look for lost packets on the way back to here.",),
    advice=(
        Advice(
            name="net.ipv4.tcp_orphan_retries",
            effect=Effect.LIMITS,
            why="how often the FIN of a closed socket is repeated; 0 means 8 times",
        ),
        Advice(
            name="net.ipv4.tcp_fin_timeout",
            effect=Effect.NONE,
            why="it bounds FIN_WAIT_2, which comes after the ACK that is missing here",
        ),
    ),
)


def detect(window: Window, settings: Settings) -> Iterator[Finding]:
    """One finding per process and service end, always info."""
    sockets = suspects(window, settings)
    last_ack, last_data = (sockets.detail(name) / 1e3 for name in ("last_ack_recv", "last_data_recv"))
    ages = Ages(lower=last_ack, upper=last_data)
    serving = role.serves(window.current, sockets)
    for rows, folded in split(window.owners.of(sockets), *service_end(sockets, serving), apart=(sockets.netns,)):
        group = sockets.take(rows)
        evidence: Evidence = {"retransmits_max": int(group.retransmits.max())}
        yield tell(
            window,
            group,
            TELLING,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.INFO,
            subject=subject(window, group),
            other_end=describe_ends(find_ends(window.current, group), window.owners),
            ages=ages.take(rows),
            evidence=evidence | age_evidence(ages.take(rows), certain=True),
        )


def suspects(window: Window, settings: Settings) -> SocketTable:
    """The sockets in CLOSING that have waited longer than the first retransmission, or for a window."""
    del settings  # what a healthy close goes through in a round trip is told apart by the FIN that was repeated
    sockets = window.sockets.in_state(State.CLOSING)
    return sockets.take((sockets.retransmits > 0) | (sockets.timer == Timer.PROBE))


DETECTOR = Detector(
    asks=Asks(
        states=frozenset({State.CLOSING}),
        details=frozenset({"last_ack_recv", "last_data_recv"}) | role.DETAILS,
        sysctls=frozenset(a.name for a in TELLING.advice),
    ),
    settings=Settings(),
    detect=detect,
    suspects=suspects,
)
