"""The kernel's own counters that matter to connections, each network namespace its own."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from sockwatch.export.metrics.family import Family
from sockwatch.export.metrics.namespaces import Namespaces

_FILES = {"Tcp": "/proc/net/snmp", "Udp": "/proc/net/snmp", "TcpExt": "/proc/net/netstat"}


def _counter(name: str, key: str, meaning: str) -> tuple[str, Family]:
    protocol, _, field = key.partition(".")
    source = f"{protocol} {field}, {_FILES[protocol]}"
    return key, Family(name=name, labels=("netns",), meaning=meaning, source=source)


COUNTERS: Mapping[str, Family] = dict(
    (
        _counter("sockwatch_tcp_active_opens_total", "Tcp.ActiveOpens", "Connections that connect() began"),
        _counter("sockwatch_tcp_passive_opens_total", "Tcp.PassiveOpens", "Connections that listeners received"),
        _counter(
            "sockwatch_tcp_attempt_fails_total",
            "Tcp.AttemptFails",
            "Handshakes that failed: refused, or reset before they were complete",
        ),
        _counter(
            "sockwatch_tcp_established_resets_total",
            "Tcp.EstabResets",
            "Connections that went from ESTABLISHED or CLOSE_WAIT to CLOSE at once: by a reset of either side, or a "
            "timeout",
        ),
        _counter("sockwatch_tcp_sent_segments_total", "Tcp.OutSegs", "Segments sent, without retransmitted ones"),
        _counter("sockwatch_tcp_received_segments_total", "Tcp.InSegs", "Segments received"),
        _counter("sockwatch_tcp_retransmitted_segments_total", "Tcp.RetransSegs", "Segments sent once more"),
        _counter("sockwatch_tcp_received_errors_total", "Tcp.InErrs", "Segments received that were malformed"),
        _counter("sockwatch_tcp_sent_resets_total", "Tcp.OutRsts", "Resets sent"),
        _counter(
            "sockwatch_tcp_listen_overflows_total",
            "TcpExt.ListenOverflows",
            "Handshakes that were dropped because the accept queue was full",
        ),
        _counter(
            "sockwatch_tcp_listen_drops_total",
            "TcpExt.ListenDrops",
            "Handshakes that listeners dropped for whatever reason, a full accept queue included",
        ),
        _counter(
            "sockwatch_tcp_request_queue_full_drops_total",
            "TcpExt.TCPReqQFullDrop",
            "SYNs that were dropped because the SYN queue was full and syncookies are off",
        ),
        _counter(
            "sockwatch_tcp_request_queue_full_cookies_total",
            "TcpExt.TCPReqQFullDoCookies",
            "SYNs that were answered with a syncookie because the SYN queue was full",
        ),
        _counter("sockwatch_tcp_syncookies_sent_total", "TcpExt.SyncookiesSent", "Syncookies sent"),
        _counter(
            "sockwatch_tcp_syncookies_received_total", "TcpExt.SyncookiesRecv", "Handshakes that a syncookie completed"
        ),
        _counter(
            "sockwatch_tcp_syncookies_failed_total",
            "TcpExt.SyncookiesFailed",
            "ACKs that should complete a handshake and had a wrong syncookie",
        ),
        _counter(
            "sockwatch_tcp_embryonic_resets_total",
            "TcpExt.EmbryonicRsts",
            "Half-open handshakes that a reset or another SYN of the peer ended",
        ),
        _counter("sockwatch_tcp_syn_retransmits_total", "TcpExt.TCPSynRetrans", "SYNs and SYN-ACKs sent once more"),
        _counter("sockwatch_tcp_timeouts_total", "TcpExt.TCPTimeouts", "Retransmission timeouts"),
        _counter(
            "sockwatch_tcp_lost_retransmits_total", "TcpExt.TCPLostRetransmit", "Retransmissions that were lost as well"
        ),
        _counter("sockwatch_tcp_keepalive_probes_total", "TcpExt.TCPKeepAlive", "Keepalive probes sent"),
        _counter("sockwatch_tcp_window_probes_total", "TcpExt.TCPWinProbe", "Probes of a zero window sent"),
        _counter(
            "sockwatch_tcp_zero_windows_sent_total",
            "TcpExt.TCPToZeroWindowAdv",
            "Windows closed to zero: this side reads too slowly",
        ),
        _counter(
            "sockwatch_tcp_time_waits_total",
            "TcpExt.TW",
            "Closes by this side: sockets that entered TIME_WAIT, or FIN_WAIT_2 without a process, for more than 4 s",
        ),
        _counter(
            "sockwatch_tcp_time_waits_recycled_total",
            "TcpExt.TWRecycled",
            "Sockets in TIME_WAIT whose port connect() took over (tcp_tw_reuse)",
        ),
        _counter(
            "sockwatch_tcp_short_time_waits_total",
            "TcpExt.TWKilled",
            "The same for at most 4 s, as TCP_LINGER2 may set it; nothing was killed",
        ),
        _counter(
            "sockwatch_tcp_time_wait_overflows_total",
            "TcpExt.TCPTimeWaitOverflow",
            "Sockets that got no TIME_WAIT because tcp_max_tw_buckets was reached",
        ),
        _counter(
            "sockwatch_tcp_aborts_on_close_total",
            "TcpExt.TCPAbortOnClose",
            "Connections reset by close() because data was unread",
        ),
        _counter(
            "sockwatch_tcp_aborts_on_data_total",
            "TcpExt.TCPAbortOnData",
            "Connections reset because data came after close(), or by SO_LINGER with 0 seconds",
        ),
        _counter(
            "sockwatch_tcp_aborts_on_linger_total",
            "TcpExt.TCPAbortOnLinger",
            "Connections reset in FIN_WAIT_2 because TCP_LINGER2 is negative",
        ),
        _counter(
            "sockwatch_tcp_aborts_on_timeout_total",
            "TcpExt.TCPAbortOnTimeout",
            "Connections given up because the peer did not answer",
        ),
        _counter(
            "sockwatch_tcp_aborts_on_memory_total",
            "TcpExt.TCPAbortOnMemory",
            "Connections reset because of too many orphans or too little memory",
        ),
        _counter("sockwatch_tcp_aborts_failed_total", "TcpExt.TCPAbortFailed", "Resets that could not be sent"),
        _counter(
            "sockwatch_tcp_memory_pressures_total",
            "TcpExt.TCPMemoryPressures",
            "Times that TCP came under memory pressure",
        ),
        _counter(
            "sockwatch_tcp_receive_queue_drops_total",
            "TcpExt.TCPRcvQDrop",
            "Segments dropped because the receive queue had no memory",
        ),
        _counter(
            "sockwatch_tcp_zero_window_drops_total",
            "TcpExt.TCPZeroWindowDrop",
            "Segments dropped because they came into a zero window",
        ),
        _counter(
            "sockwatch_tcp_backlog_drops_total",
            "TcpExt.TCPBacklogDrop",
            "Segments dropped because the backlog of a socket that was in use was full",
        ),
        _counter(
            "sockwatch_tcp_beyond_window_total",
            "TcpExt.BeyondWindow",
            "Segments dropped because they lay beyond the window",
        ),
        _counter(
            "sockwatch_tcp_paws_established_rejects_total",
            "TcpExt.PAWSEstab",
            "Segments of connections dropped for an old timestamp",
        ),
        _counter(
            "sockwatch_tcp_paws_time_wait_rejects_total",
            "TcpExt.PAWSTimewait",
            "Segments to sockets in TIME_WAIT dropped for an old timestamp",
        ),
        _counter("sockwatch_tcp_challenge_acks_total", "TcpExt.TCPChallengeACK", "Challenge ACKs sent"),
        _counter(
            "sockwatch_tcp_syn_challenges_total",
            "TcpExt.TCPSYNChallenge",
            "Challenge ACKs sent for a SYN to a connection that is there already",
        ),
        _counter(
            "sockwatch_udp_receive_buffer_errors_total",
            "Udp.RcvbufErrors",
            "UDP datagrams over IPv4 dropped because a receive buffer was full",
        ),
    )
)
"""By the key in Namespace.counters."""


def kernel_counters(namespaces: Namespaces) -> Iterator[Metric]:
    """Those that the kernel has, of the namespaces that have series of their own.

    The others are left out: a sum over namespaces that come and go does not only grow.
    """
    for key, family in COUNTERS.items():
        rows = [((name,), float(n.counters[key])) for name, n in namespaces.shown if key in n.counters]
        if rows:
            yield family.fill(rows)
