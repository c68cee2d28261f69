"""The sysctls that people turn for TCP, and what they really do."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlEntry:
    """A sysctl; `default` is that of a current kernel, `since` the version of Linux that brought it."""

    does: str
    does_not: str
    default: str
    since: str


SYSCTLS: Mapping[str, SysctlEntry] = {
    "net.ipv4.tcp_fin_timeout": SysctlEntry(
        does="Bounds fin_wait_2 of sockets that were closed, so that no process holds them. Up to 60 it is that many "
        "seconds; a value T above 60 gives 2 x (T - 60) seconds. It holds for sockets closed after the change.",
        does_not="Shorten time_wait (60 s, compiled in), end close_wait, end a half-closed socket that a process still "
        "holds, or bound fin_wait_1 and last_ack.",
        default="60",
        since="2.2",
    ),
    "net.ipv4.ip_local_port_range": SysctlEntry(
        does="The ports that connect() and bind() to port 0 choose from, both ends included. connect() takes ports of "
        "the parity of the low end first and the other half when those are used up.",
        does_not="Limit the connections of a host: the budget is one range per source address, destination address and "
        "destination port. It does limit those who bind() first without IP_BIND_ADDRESS_NO_PORT.",
        default="32768 60999",
        since="2.2",
    ),
    "net.ipv4.ip_local_reserved_ports": SysctlEntry(
        does="Ports in the range that the kernel never chooses by itself. A service that listens inside the range "
        "belongs here: then no client takes its port while it restarts, and no client connects to itself there.",
        does_not="Keep anybody from binding such a port explicitly.",
        default="empty",
        since="2.6.35",
    ),
    "net.ipv4.tcp_tw_reuse": SysctlEntry(
        does="Lets connect() reuse a port whose connection to the same destination is in time_wait for longer than "
        "tcp_tw_reuse_delay. 0: never, 1: always, 2: on loopback addresses only.",
        does_not="Help a server: accepted connections choose no port. Nor does it reuse fin_wait_2.",
        default="2",
        since="2.4.19; 2 is possible since 4.19",
    ),
    "net.ipv4.tcp_tw_reuse_delay": SysctlEntry(
        does="How long, in milliseconds, a connection must have been in time_wait before tcp_tw_reuse may reuse it.",
        does_not="Shorten time_wait. 0 is refused.",
        default="1000",
        since="6.14; before, 1000 was compiled in",
    ),
    "net.ipv4.tcp_max_tw_buckets": SysctlEntry(
        does="Caps how many sockets may be in time_wait, orphaned fin_wait_2 included. What is beyond vanishes at "
        "once, and TcpExt.TCPTimeWaitOverflow counts it.",
        does_not="Cure anything when lowered: it takes away the protection that time_wait gives.",
        default="depends on memory",
        since="2.4",
    ),
    "net.core.somaxconn": SysctlEntry(
        does="Caps the backlog that an application gives to listen(), at the moment of that call.",
        does_not="Change a listener that already listens, or help one whose application asked for less, or speed up an "
        "application that does not accept.",
        default="4096",
        since="2.4.25; 128 before 5.4",
    ),
    "net.ipv4.tcp_max_syn_backlog": SysctlEntry(
        does="Limits half-open connections of a listener, with tcp_syncookies=0 only.",
        does_not="Matter with syncookies, which are on by default: then the listener's own backlog is the limit. It "
        "does nothing about a full accept queue.",
        default="depends on memory",
        since="2.2",
    ),
    "net.ipv4.tcp_abort_on_overflow": SysctlEntry(
        does="Answers the last ACK of a handshake with a RST when the accept queue is full, so that the client fails "
        "at once instead of waiting.",
        does_not="Make room in the queue. SYNs that arrive at a full queue are dropped in silence all the same.",
        default="0",
        since="2.4",
    ),
    "net.ipv4.tcp_timestamps": SysctlEntry(
        does="Puts timestamps on segments where both ends agree, to measure round trips and to tell old segments from "
        "new ones. 1: with a random offset a connection, 2: without, 0: never.",
        does_not="Save anything worth having when off. Without timestamps tcp_tw_reuse does nothing, and connections "
        "that began with a syncookie have no window scaling.",
        default="1",
        since="2.2",
    ),
    "net.ipv4.tcp_rfc1337": SysctlEntry(
        does="At 1, a RST no longer ends time_wait; it starts its 60 s anew.",
        does_not="Shorten time_wait, or do the opposite, as the kernel's own documentation has it. Without it a RST "
        "frees the port at once.",
        default="0",
        since="2.2",
    ),
    "net.ipv4.tcp_syncookies": SysctlEntry(
        does="When a listener's queue of half-open handshakes is full, answers SYNs with a cookie and keeps nothing; "
        "the client's ACK brings back what is needed. 1: when full, 2: always (a test), 0: never.",
        does_not="Make room in the accept queue: a finished handshake still needs a place there.",
        default="1",
        since="2.2",
    ),
    "net.ipv4.tcp_syn_retries": SysctlEntry(
        does="How often connect() repeats its SYN before it fails with ETIMEDOUT. TCP_SYNCNT overrides it for a "
        "socket.",
        does_not="Help where a firewall or a full accept queue drops SYNs; it only says how long the client waits.",
        default="6",
        since="2.2",
    ),
    "net.ipv4.tcp_synack_retries": SysctlEntry(
        does="How often a listener repeats its SYN-ACK to a client that does not answer; 5 is about 63 s, 1 is 3 s.",
        does_not="Limit how many half-open handshakes there are; each just stays for a shorter time.",
        default="5",
        since="2.2",
    ),
    "net.ipv4.tcp_keepalive_time": SysctlEntry(
        does="After how many seconds of silence the first probe is sent, on sockets with SO_KEEPALIVE. TCP_KEEPIDLE "
        "overrides it for a socket.",
        does_not="Turn keepalive on. What an application opens without SO_KEEPALIVE is never probed.",
        default="7200",
        since="2.2",
    ),
    "net.ipv4.tcp_keepalive_intvl": SysctlEntry(
        does="How many seconds lie between probes that stay unanswered. TCP_KEEPINTVL overrides it for a socket.",
        does_not="Matter while probes are answered, or without SO_KEEPALIVE.",
        default="75",
        since="2.4",
    ),
    "net.ipv4.tcp_keepalive_probes": SysctlEntry(
        does="How many unanswered probes end the connection with ETIMEDOUT. With the defaults of all three that is 2 h "
        "11 min after the peer vanished. TCP_KEEPCNT overrides it for a socket.",
        does_not="Matter while data is in flight: no probes are sent then, and tcp_retries2 decides.",
        default="9",
        since="2.2",
    ),
    "net.ipv4.tcp_retries2": SysctlEntry(
        does="How long data that is not acknowledged is repeated on a connection that a process holds, before it fails "
        "with ETIMEDOUT. 15 is about 15 minutes, 8 about 107 s, 3 about 7 s. TCP_USER_TIMEOUT overrides it for a "
        "socket.",
        does_not="Count packets exactly (the kernel makes a time of it), or act on connect(), idle connections, and "
        "sockets that were closed.",
        default="15",
        since="2.2",
    ),
    "net.ipv4.tcp_orphan_retries": SysctlEntry(
        does="How often a closed socket repeats its data and its FIN: fin_wait_1, closing and last_ack without a "
        "descriptor. 0 means 8, which is 102 s or a little more; 1 is about 2 s, 3 about 7 s.",
        does_not="Bound fin_wait_2 (tcp_fin_timeout does), or a fin_wait_1 behind the closed window of a living peer.",
        default="0",
        since="2.4",
    ),
    "net.ipv4.tcp_max_orphans": SysctlEntry(
        does="Caps, for the whole host, how many closed sockets may still wait for their data or FIN to be "
        "acknowledged. Beyond it close() sends a RST; from half of it on those that do not get on are killed.",
        does_not="Count time_wait, or fin_wait_2 where tcp_fin_timeout is 60 or less. It exists in the initial "
        "namespace only.",
        default="depends on memory",
        since="2.4",
    ),
    "net.ipv4.tcp_mem": SysctlEntry(
        does="Three limits, in pages, for the memory of all TCP sockets of the host: below the first nothing happens, "
        "above the second buffers shrink until use is below the first, above the third no socket gets memory.",
        does_not="Bound a single socket (tcp_rmem and tcp_wmem do), or count in bytes. It exists in the initial "
        "namespace only.",
        default="depends on memory",
        since="2.4",
    ),
    "net.ipv4.tcp_rmem": SysctlEntry(
        does="The least, first and largest receive buffer of a TCP socket, in bytes; the kernel grows it by itself up "
        "to the third value.",
        does_not="Apply to a socket whose application set SO_RCVBUF: that one is fixed, and bounded by rmem_max.",
        default="4096 131072, the third depends on memory",
        since="2.4",
    ),
    "net.ipv4.tcp_wmem": SysctlEntry(
        does="The least, first and largest send buffer of a TCP socket, in bytes; the kernel grows it by itself up to "
        "the third value.",
        does_not="Apply to a socket whose application set SO_SNDBUF: that one is fixed, and bounded by wmem_max.",
        default="4096 16384, the third depends on memory",
        since="2.4",
    ),
    "net.core.rmem_max": SysctlEntry(
        does="Caps what an application may ask for with SO_RCVBUF; the kernel gives twice that, for its own part.",
        does_not="Enlarge any buffer by itself, or bound what TCP gives without being asked.",
        default="depends on the kernel",
        since="2.2",
    ),
    "net.core.rmem_default": SysctlEntry(
        does="The receive buffer, in bytes, of UDP and other sockets whose application asks for none.",
        does_not="Change sockets that are open, or TCP, which has tcp_rmem.",
        default="212992",
        since="2.2",
    ),
    "net.ipv4.udp_mem": SysctlEntry(
        does="Limits, in pages, for the memory of all UDP sockets of the host; beyond them datagrams are dropped and "
        "counted as MemErrors.",
        does_not="Size the buffer of a socket: SO_RCVBUF, rmem_default and rmem_max do.",
        default="depends on memory",
        since="2.6.25",
    ),
    "net.netfilter.nf_conntrack_max": SysctlEntry(
        does="How many flows the firewall keeps track of, each namespace for itself. When it is reached, the first "
        "packets of new connections are dropped.",
        does_not="Count sockets: routed, closed and UDP flows have entries as well. It exists while nf_conntrack is "
        "loaded, and is set in the initial namespace.",
        default="depends on memory",
        since="2.6",
    ),
    "net.netfilter.nf_conntrack_tcp_timeout_established": SysctlEntry(
        does="How many seconds an idle TCP connection keeps its entry in the table; 432000 is five days.",
        does_not="Close a connection. When a busy firewall forgets one, its next packet is a surprise.",
        default="432000",
        since="2.6",
    ),
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": SysctlEntry(
        does="How many seconds the entry of a closed TCP connection stays in the table.",
        does_not="Touch the time_wait of sockets, which is 60 s, compiled in.",
        default="120",
        since="2.6",
    ),
    "net.ipv4.tcp_syn_linear_timeouts": SysctlEntry(
        does="How many of the repeated SYNs of connect() come one second apart before the interval doubles.",
        does_not="Change how many there are: tcp_syn_retries does.",
        default="4",
        since="6.5",
    ),
    "net.ipv4.tcp_challenge_ack_limit": SysctlEntry(
        does="How many challenge ACKs a second answer segments that may be forged, or a SYN on an open connection.",
        does_not="End the clash of a new connection with an old one: that takes the answer to the challenge.",
        default="no limit (1000 on older kernels)",
        since="3.6",
    ),
    "net.ipv4.tcp_ehash_entries": SysctlEntry(
        does="Shows the size of the table of connections, negative in a namespace that shares the one of the host. "
        "From it the kernel computes tcp_max_tw_buckets and tcp_max_orphans (half of it) and tcp_max_syn_backlog.",
        does_not="Limit connections, or take a value: it can only be read.",
        default="depends on memory",
        since="6.1",
    ),
    "net.ipv4.udp_rmem_min": SysctlEntry(
        does="How many bytes each UDP socket may receive even when the memory of udp_mem is short.",
        does_not="Size its buffer.",
        default="4096",
        since="2.6.25",
    ),
    "net.core.netdev_max_backlog": SysctlEntry(
        does="How many packets wait for a CPU before they reach any socket; what is beyond shows in "
        "/proc/net/softnet_stat.",
        does_not="Have to do with listen(), or with the buffer of a socket.",
        default="1000",
        since="2.2",
    ),
    "net.netfilter.nf_conntrack_count": SysctlEntry(
        does="Shows how many flows the firewall keeps track of in this namespace.",
        does_not="Take a value: it can only be read.",
        default="0",
        since="2.6",
    ),
    "net.netfilter.nf_conntrack_buckets": SysctlEntry(
        does="The size of the hash in which the entries of tracked flows are found.",
        does_not="Limit their number: nf_conntrack_max does. With too few buckets each packet searches longer.",
        default="depends on memory",
        since="2.6",
    ),
    "net.ipv4.ip_conntrack_max": SysctlEntry(
        does="Nothing any more: it is an old name of net.netfilter.nf_conntrack_max.",
        does_not="Exist on a new kernel. Rename it in the sysctl file that sets it.",
        default="gone",
        since="2.4",
    ),
    "net.ipv4.netfilter.ip_conntrack_max": SysctlEntry(
        does="Nothing any more: it is an old name of net.netfilter.nf_conntrack_max.",
        does_not="Exist on a new kernel. Rename it in the sysctl file that sets it.",
        default="gone",
        since="2.6",
    ),
    "net.ipv4.netfilter.ip_conntrack_tcp_timeout_established": SysctlEntry(
        does="Nothing any more: it is an old name of net.netfilter.nf_conntrack_tcp_timeout_established.",
        does_not="Exist on a new kernel. Rename it in the sysctl file that sets it.",
        default="gone",
        since="2.6",
    ),
    "net.ipv4.tcp_thin_dupack": SysctlEntry(
        does="Nothing: it is gone since Linux 4.11; loss detection by time (RACK) does without it.",
        does_not="Exist. Remove it from the sysctl file that sets it.",
        default="gone",
        since="2.6.34, until 4.10",
    ),
    "net.ipv4.tcp_tw_recycle": SysctlEntry(
        does="Nothing: it is gone since Linux 4.12, because it broke clients behind NAT.",
        does_not="Exist. A sysctl file that names it is from an old guide; remove the line.",
        default="gone",
        since="2.4, until 4.11",
    ),
}
