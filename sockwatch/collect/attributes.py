"""What the attributes of a sock_diag message hold: every number, by the kernel's name, with its place.

Attributes are told apart by type and read by length: a kernel sends as much of a struct as it knows, so a field that
lies beyond the end of what arrived is unknown, and what follows the last known field is ignored.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Attribute(IntEnum):
    """INET_DIAG_* (include/uapi/linux/inet_diag.h) that hold numbers."""

    MEMINFO = 1
    INFO = 2
    VEGASINFO = 3
    TOS = 5
    TCLASS = 6
    SKMEMINFO = 7
    SHUTDOWN = 8
    DCTCPINFO = 9
    SKV6ONLY = 11
    MARK = 15
    BBRINFO = 16
    CLASS_ID = 17
    CGROUP_ID = 21
    SOCKOPT = 22


_BY_REQUEST: Final = frozenset(
    {Attribute.MEMINFO, Attribute.INFO, Attribute.TOS, Attribute.TCLASS, Attribute.SKMEMINFO}
)
_REQUESTED_AS: Final = {
    Attribute.VEGASINFO: Attribute.VEGASINFO,
    Attribute.DCTCPINFO: Attribute.VEGASINFO,
    Attribute.BBRINFO: Attribute.VEGASINFO,
    Attribute.CLASS_ID: Attribute.TCLASS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where a number is: `offset` bytes into the attribute's value, `size` bytes in this machine's byte order."""

    attribute: Attribute
    offset: int
    size: int


def _fields(attribute: Attribute, prefix: str, *blocks: tuple[int, str]) -> Iterator[tuple[str, Field]]:
    """Fields one after the other, as (size, names) in the order of the struct; `-` is padding."""
    offset = 0
    for size, names in blocks:
        for name in names.split():
            if name != "-":
                yield prefix + name, Field(attribute=attribute, offset=offset, size=size)
            offset += size


_TCP_INFO = (
    (1, "state ca_state retransmits probes backoff options - -"),  # the last two are bit fields
    (4, "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets"),
    (4, "last_data_sent last_ack_sent last_data_recv last_ack_recv"),
    (4, "pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans"),
    (8, "pacing_rate max_pacing_rate"),  # v3.15, 977cb0ecf82e
    (8, "bytes_acked bytes_received"),  # v4.1, 0df48c26d841 and bdd1f9edacb5
    (4, "segs_out segs_in"),  # v4.2, 2efd055c53c0
    (4, "notsent_bytes min_rtt data_segs_in data_segs_out"),  # v4.6, cd9b266095f4 and a44d6eacdaf5
    (8, "delivery_rate"),  # v4.9, eb8329e0a04d
    (8, "busy_time rwnd_limited sndbuf_limited"),  # v4.10, efd901741675
    (4, "delivered delivered_ce"),  # v4.18, feb5f2ec6464
    (8, "bytes_sent bytes_retrans"),  # v4.19, ba113c3aa79a and fb31c9b9f6c8
    (4, "dsack_dups reord_seen"),  # v4.19, 7e10b6554ff2 and 7ec65372ca53
    (4, "rcv_ooopack snd_wnd"),  # v5.4, f9af2dbbfe01 and 8f7baad7f035
    (4, "rcv_wnd rehash"),  # v6.2, 71fc704768f6
    (2, "total_rto total_rto_recoveries"),  # v6.7, 3868ab0f1925
    (4, "total_rto_time"),
    (4, "received_ce delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes"),  # v6.18, AccECN
    (4, "received_e1_bytes received_e0_bytes received_ce_bytes"),
    (2, "accecn_fail_mode accecn_opt_seen"),
)
"""struct tcp_info (include/uapi/linux/tcp.h); it has no padding but the two bytes of bit fields."""

FIELDS: Final[Mapping[str, Field]] = dict(
    (
        *_fields(Attribute.INFO, "", *_TCP_INFO),
        *_fields(
            Attribute.SKMEMINFO,
            "skmem_",
            (4, "rmem_alloc rcvbuf wmem_alloc sndbuf fwd_alloc wmem_queued optmem backlog drops"),
        ),
        *_fields(Attribute.MEMINFO, "meminfo_", (4, "rmem wmem fmem tmem")),
        *_fields(Attribute.VEGASINFO, "vegas_", (4, "enabled rttcnt rtt minrtt")),
        *_fields(Attribute.DCTCPINFO, "dctcp_", (2, "enabled ce_state"), (4, "alpha ab_ecn ab_tot")),
        *_fields(Attribute.BBRINFO, "bbr_", (4, "bw_lo bw_hi min_rtt pacing_gain cwnd_gain")),
        *_fields(Attribute.TOS, "", (1, "tos")),
        *_fields(Attribute.TCLASS, "", (1, "tclass")),
        *_fields(Attribute.CLASS_ID, "", (4, "class_id")),
        *_fields(Attribute.SKV6ONLY, "", (1, "v6only")),
        *_fields(Attribute.MARK, "", (4, "mark")),
    )
)
"""Every detail that can be asked for. `mark` is told to CAP_NET_ADMIN only."""

_MPTCP_INFO = (
    (1, "subflows add_addr_signal add_addr_accepted subflows_max add_addr_signal_max add_addr_accepted_max - -"),
    (4, "flags token"),
    (8, "write_seq snd_una rcv_nxt"),
    (1, "local_addr_used local_addr_max csum_enabled -"),  # v5.12 and v5.14
    (4, "retransmits"),  # v6.5
    (8, "bytes_retrans bytes_sent bytes_received bytes_acked"),
    (1, "subflows_total - - -"),  # v6.8
    (4, "last_data_sent last_data_recv last_ack_recv"),  # v6.10, 18d82cde7432
)
"""struct mptcp_info (include/uapi/linux/mptcp.h), which MPTCP sends as INET_DIAG_INFO."""
_MPTCP_KEPT = frozenset(
    {"subflows", "bytes_retrans", "bytes_sent", "bytes_received", "bytes_acked"}
    | {"last_data_sent", "last_data_recv", "last_ack_recv"}
)

MPTCP_FIELDS: Final[Mapping[str, Field]] = {
    name: field for name, field in _fields(Attribute.INFO, "", *_MPTCP_INFO) if name in _MPTCP_KEPT
} | {name: field for name, field in FIELDS.items() if name.startswith("skmem_")}
"""The details of an MPTCP socket; those that TCP has as well have its names."""

SHUTDOWN: Final = Field(attribute=Attribute.SHUTDOWN, offset=0, size=1)
CGROUP: Final = Field(attribute=Attribute.CGROUP_ID, offset=0, size=8)
SOCKOPT: Final = Field(attribute=Attribute.SOCKOPT, offset=0, size=2)


def extensions_for(attributes: Iterable[Attribute]) -> int:
    """idiag_ext, by which the kernel sends these attributes; those that need no request add nothing."""
    requested = {_REQUESTED_AS.get(a, a) for a in attributes if a in _BY_REQUEST or a in _REQUESTED_AS}
    return sum(1 << (a - 1) for a in requested)
