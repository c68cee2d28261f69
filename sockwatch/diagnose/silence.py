"""The other end does not answer: for how long, and how much of its service that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.age import Ages, Seconds
from sockwatch.diagnose.detector import Settings
from sockwatch.diagnose.verdict import ANY
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Severity, Subject
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

DETAILS = frozenset({"backoff", "last_ack_recv", "last_data_recv", "last_data_sent", "rto"})
"""The details that tell how long; a detector that uses silences asks for them."""

RTO_MAX_SECONDS = 120.0
"""TCP_RTO_MAX (include/net/tcp.h), the longest interval; net.ipv4.tcp_rto_max_ms can make it shorter since v6.15."""
RTO_MIN_SECONDS = 0.2
"""TCP_RTO_MIN (include/net/tcp.h), which the kernel reckons limits from, whatever a connection's own is."""
_DOUBLINGS = 9
"""From RTO_MIN to RTO_MAX: ilog2(120 / 0.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceSettings(Settings):
    """When unanswered connections are more than the few that every service loses."""

    share: Share = 0.1
    """A warning from this share of the service's connections on; fewer are info."""
    clients: int = 10
    """A warning from so many clients of a service on: a client may vanish at any time, and fewer are info."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatSettings(SilenceSettings):
    """The same for what is repeated until it is answered."""

    retransmits: int = 3
    """What was sent counts as unanswered when it was repeated so often in a row; less is an ordinary loss."""


def silences(sockets: SocketTable) -> Ages:
    """For how long what each socket sent has been unanswered, or could not be sent; NaN for what waits for nothing.

    The kernel doubles the interval with each retransmission and each probe of a zero window, so the present interval
    and the count tell how long it has been at it (net/ipv4/tcp_timer.c). Only the first SYNs go without doubling
    (net.ipv4.tcp_syn_linear_timeouts). With keepalive the first probe follows a silence that nothing in sock_diag
    tells, in which nobody asked: the probes since are the lower bound, the peer's last segment the upper one.
    """
    if not len(sockets):  # what a healthy host has
        return Ages(lower=np.empty(0), upper=np.empty(0))
    expires = sockets.expires_ms / 1e3
    tries = sockets.retransmits.astype(np.float64)
    rto = sockets.detail("rto") / 1e6
    backoff = sockets.detail("backoff")
    last_ack = sockets.detail("last_ack_recv") / 1e3
    last_sent = sockets.detail("last_data_sent") / 1e3
    heard = np.minimum(last_ack, sockets.detail("last_data_recv") / 1e3)

    retransmits = sockets.timer == Timer.RETRANSMIT
    doublings = np.minimum(backoff, tries)
    since_last = np.minimum(np.maximum(rto - expires, 0), last_sent)  # TCP_USER_TIMEOUT cuts an interval short
    sent = rto * (1 - 0.5**doublings) + (tries - doublings) * rto * 0.5**backoff + since_last
    sent = np.where(np.isnan(sent), expires * (1 - 0.5**tries), sent)  # not read in detail: the interval lasts as long

    probes = sockets.timer == Timer.PROBE
    interval = np.minimum(rto * 2**backoff, RTO_MAX_SECONDS)
    stalled = np.minimum(interval * (1 - 0.5**backoff) + np.maximum(interval - expires, 0), last_sent)

    asks = (sockets.timer == Timer.KEEPALIVE) & (sockets.retransmits > 0)
    asked = (tries - 1) * expires  # what is left of an interval is at most an interval

    lower = np.select([retransmits, probes, asks], [sent, stalled, asked], np.nan)
    upper = np.select([retransmits, probes, asks], [last_ack, last_sent, heard], np.nan)
    connecting = sockets.is_in_state(State.SYN_SENT)  # has heard nothing yet: its clocks began with the machine
    upper = np.where(connecting, lower, upper)
    return Ages(lower=lower, upper=np.where(upper < lower, np.nan, upper))


def connect_lives(window: Window) -> Seconds:
    """After how many seconds the kernel gives up a SYN, for each namespace; infinite where that cannot be read.

    tcp_syn_linear_timeouts repetitions come a second apart before the doubling begins (v6.5, ccce324dabfe); older
    kernels double from the first.
    """
    lives = []
    for namespace in window.namespaces:
        retries = namespace.number("net.ipv4.tcp_syn_retries")
        linear = namespace.number("net.ipv4.tcp_syn_linear_timeouts") or 0
        doubled = (
            [min(2.0**i, RTO_MAX_SECONDS) for i in range(min(retries, 255) + 1)] if retries is not None else [np.inf]
        )
        lives.append(sum(doubled) + linear)
    return np.array(lives)


def lives(window: Window, sysctl: str, zero_means: int = 0) -> Seconds:
    """After how many seconds the kernel gives up what is not acknowledged, for each namespace (tcp_model_timeout).

    `sysctl` counts retransmissions; the kernel turns the count into a time with RTO_MIN, whatever the RTO is.
    """
    found = []
    for namespace in window.namespaces:
        retries = namespace.number(sysctl)
        if retries is None:
            found.append(np.inf)
            continue
        retries = max(retries, 0) or zero_means
        doubled = min(retries, _DOUBLINGS)
        found.append(((2 << doubled) - 1) * RTO_MIN_SECONDS + (retries - doubled) * RTO_MAX_SECONDS)
    return np.array(found)


def min_ages(settings: Settings, lives: Seconds) -> Seconds:
    """How old is old, for states that the kernel itself ends: min_age, or half of their life if that is less."""
    return np.minimum(settings.min_age, lives / 2)


def share(window: Window, sockets: SocketTable, serving: NDArray[np.bool_], *states: State) -> float:
    """What part of the sockets of their service these are, those in `states` and these themselves counted.

    The service is the local port of serving ends, the remote end of others.
    """
    every = window.sockets
    same = every.is_in_state(*states) & (every.netns == sockets.netns[0])
    to = _ports(sockets.dport[~serving])[every.dport]
    if not serving.all():
        to &= np.isin(every.dst_lo, sockets.dst_lo) & np.isin(every.dst_hi, sockets.dst_hi)
    same &= _ports(sockets.sport[serving])[every.sport] | to
    return len(sockets) / (int(same.sum()) + int((~sockets.is_in_state(*states)).sum()))


def severity(settings: SilenceSettings, *, share: float, count: int, serving: bool) -> Severity:
    """A warning where these are a visible share of their service, and, if that is served here, not just a few."""
    few = serving and count < settings.clients
    return Severity.INFO if few or share < settings.share else Severity.WARNING


def peer(about: Subject, *, serving: bool) -> str:
    """Who does not answer, in a sentence: the service by its address, clients by what they have in common."""
    address = str(about.remote).removesuffix(f":{ANY}").strip("[]")
    if not serving:
        return str(about.remote)
    return "the other end" if address == ANY else address


def _ports(numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    mask = np.zeros(65536, np.bool_)
    mask[numbers] = True
    return mask
