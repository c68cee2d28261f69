"""The states of a TCP socket, as the kernel numbers them and as sockwatch spells them."""

from enum import IntEnum


class State(IntEnum):
    """include/net/tcp_states.h; the numbers are the wire values of idiag_state.

    BOUND is ours for TCPF_BOUND_INACTIVE rows without a remote port (the kernel reports them as CLOSE);
    CLOSE is such a row with a remote port: a failed or finished connection whose fd is still open.
    SYN_RECV also stands for TCP_NEW_SYN_RECV, which is never reported as such.
    """

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT_1 = 4
    FIN_WAIT_2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    BOUND = 13

    @property
    def label(self) -> str:
        """The spelling in JSON, labels and on the terminal."""
        return self.name.lower()


class Timer(IntEnum):
    """idiag_timer (net/ipv4/inet_diag.c)."""

    OFF = 0
    RETRANSMIT = 1
    KEEPALIVE = 2
    TIME_WAIT = 3
    PROBE = 4

    @property
    def label(self) -> str:
        """The spelling in JSON."""
        return self.name.lower()
