"""The twelve TCP states."""

from collections.abc import Mapping
from dataclasses import dataclass

from sockwatch.model.state import State

NO_SYSCTL = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEntry:
    """A TCP state; `myth` is the common belief about it that is false."""

    who: str
    waits_for: str
    ends: str
    timer: str
    sysctl: str
    myth: str


STATES: Mapping[State, StateEntry] = {
    State.LISTEN: StateEntry(
        who="A server's socket after listen(). Its Recv-Q is the accept queue: connections that are complete and not "
        "yet accepted. Its Send-Q is the limit of that queue.",
        waits_for="Clients, and the application's accept().",
        ends="close() of its last descriptor. The connections still in the queue are reset.",
        timer="none",
        sysctl="net.core.somaxconn caps the queue at the moment of listen(); a later change needs a new listen().",
        myth="That a connection exists only after accept(). The kernel completes the handshake by itself; connections "
        "can stand in the queue, get data, and be closed by the peer without the application ever seeing them.",
    ),
    State.SYN_SENT: StateEntry(
        who="A client in connect().",
        waits_for="The SYN-ACK.",
        ends="The SYN-ACK (established), a RST (connection refused), or the last retransmission (timed out).",
        timer="Retransmission: the first five retries come one second apart, then the interval doubles.",
        sysctl="net.ipv4.tcp_syn_retries, net.ipv4.tcp_syn_linear_timeouts.",
        myth="That silence means the network. A server whose accept queue is full drops SYNs just as silently.",
    ),
    State.SYN_RECV: StateEntry(
        who="A listener's half-open connection; no descriptor and no process belong to it yet. A connecting socket is "
        "in it too when both ends connect at once.",
        waits_for="The last ACK of the handshake.",
        ends="That ACK (established), a RST, or the last SYN-ACK retransmission: about 63 s with 5 of them.",
        timer="SYN-ACK retransmission after 1, 3, 7, 15 and 31 s.",
        sysctl="net.ipv4.tcp_synack_retries; TCP_SYNCNT on the listener overrides it.",
        myth="That tcp_max_syn_backlog limits them. It matters only with tcp_syncookies=0; the limit is the listener's "
        "backlog. And a socket with TCP_DEFER_ACCEPT waits here for data on purpose: that is no flood.",
    ),
    State.ESTABLISHED: StateEntry(
        who="Both ends of an open connection.",
        waits_for="Data, or a FIN from either side.",
        ends="close() or shutdown() on this side (fin_wait_1), the peer's FIN (close_wait), a RST, or a timeout while "
        "data or keepalive probes stay unanswered.",
        timer="none while idle; retransmission with data in flight; keepalive where the application asked for it; "
        "probes while the peer's window is zero.",
        sysctl="net.ipv4.tcp_keepalive_time, _intvl and _probes, with SO_KEEPALIVE only; "
        "net.ipv4.tcp_retries2 for data.",
        myth="That TCP notices a peer that vanished. An idle connection without keepalive stays for ever.",
    ),
    State.FIN_WAIT_1: StateEntry(
        who="The side that closed first, after close() or shutdown(); often no process holds it any more.",
        waits_for="The acknowledgement of its FIN, and of the data before it.",
        ends="The ACK (fin_wait_2), the peer's FIN (closing), a RST, or the last retransmission.",
        timer="Retransmission; without a descriptor for 102 s or a little more. With a zero window and a living peer: "
        "probes, for some five minutes without a descriptor, for ever with one.",
        sysctl="net.ipv4.tcp_orphan_retries (0 means 8) without a descriptor, net.ipv4.tcp_retries2 with one.",
        myth="That tcp_fin_timeout ends it. It starts later, in fin_wait_2.",
    ),
    State.FIN_WAIT_2: StateEntry(
        who="The side that closed first; its FIN is acknowledged. The other end is in close_wait.",
        waits_for="The peer's FIN, that is for the other application's close().",
        ends="The peer's FIN (time_wait). After close(): also tcp_fin_timeout, and then it is gone without a "
        "time_wait. After shutdown() with the descriptor open: nothing else, ever.",
        timer="After close() one of tcp_fin_timeout; none while a descriptor is open.",
        sysctl="net.ipv4.tcp_fin_timeout, for sockets without a descriptor only.",
        myth="That tcp_fin_timeout bounds every fin_wait_2. A half-closed socket that a process still holds has no "
        "timer. And a value T above 60 gives 2 x (T - 60) seconds, not T.",
    ),
    State.CLOSING: StateEntry(
        who="Both ends, when both sent their FIN before they saw the other's.",
        waits_for="The acknowledgement of its own FIN.",
        ends="That ACK (time_wait), or the last retransmission.",
        timer="Retransmission.",
        sysctl="net.ipv4.tcp_orphan_retries.",
        myth="That many of them are normal. It lasts one round trip; a socket that stays in it loses its ACKs.",
    ),
    State.TIME_WAIT: StateEntry(
        who="The side that closed first. Only a small record of the connection is left; no process belongs to it.",
        waits_for="Old segments to die out, and the peer's FIN in case the last ACK was lost.",
        ends="60 seconds, which a repeated FIN starts anew; a RST from the peer; reuse by a new connection.",
        timer="60 s, compiled into the kernel.",
        sysctl=f"{NO_SYSCTL} for its length. net.ipv4.tcp_tw_reuse lets outgoing connections reuse it; "
        "net.ipv4.tcp_max_tw_buckets caps their number.",
        myth="That tcp_fin_timeout shortens it, and that many of them are an illness. On a listening port they cost no "
        "port; they matter only to the side that connects, for one destination at a time.",
    ),
    State.CLOSE_WAIT: StateEntry(
        who="The side whose peer closed first. The other end is in fin_wait_2, or gone.",
        waits_for="The application on this host to call close().",
        ends="close(), or the end of the process. Nothing else.",
        timer="none",
        sysctl=NO_SYSCTL,
        myth="That tcp_fin_timeout or keepalive cleans it up. It is a bug in the application that did not close or "
        "accept. Keepalive only hides it: once the peer's end is gone, a probe removes the socket from every listing "
        "while the application keeps the descriptor.",
    ),
    State.LAST_ACK: StateEntry(
        who="The side that closed last; no process holds it any more.",
        waits_for="The acknowledgement of its FIN.",
        ends="That ACK, a RST, or the last retransmission, after 102 s or a little more.",
        timer="Retransmission.",
        sysctl="net.ipv4.tcp_orphan_retries (0 means 8).",
        myth="That tcp_fin_timeout bounds it.",
    ),
    State.CLOSE: StateEntry(
        who="A socket whose connection failed or is over while its descriptor is still open and its port still bound.",
        waits_for="The application to close it, or to connect again.",
        ends="close().",
        timer="none",
        sysctl=NO_SYSCTL,
        myth="That such a socket is gone. It keeps its port and its descriptor; ss and /proc/net/tcp do not list it.",
    ),
    State.BOUND: StateEntry(
        who="A socket after bind() that neither listens nor is connected.",
        waits_for="The application to call listen() or connect().",
        ends="close(), listen() or connect().",
        timer="none",
        sysctl=NO_SYSCTL,
        myth="That what no listing shows takes no port. It removes its port from those that connect() may choose, for "
        "every destination. The kernel lists such sockets since 6.8.",
    ),
}
