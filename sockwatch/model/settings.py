"""What the daemon can be told, with its defaults: one dataclass a table of the config file.

The string after each key is what `config.example.toml` says of it. Times are in seconds, sizes in bytes. What each
detector can be told stands with the detector.
"""

from dataclasses import dataclass, field
from typing import Annotated

Share = Annotated[float, "more than 0, at most 1"]
"""The type of a setting that is a part of a whole; the config holds it to that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """The table [poll]."""

    interval: float = 10.0
    """From the start of one look at the sockets to the start of the next."""
    namespaces: str = "all"
    """Which network namespaces: "all" that can be entered, "current", a name in /run/netns, or a path."""
    cpu_share: Share = 0.05
    """The part of one core that looking may take on average; above it less is read, and the report says what."""
    seconds: float = 2.0
    """How long one look may take; above it less is read, and the report says what."""
    ignore: tuple[str, ...] = ()
    """Findings that are left out, each CODE or CODE/VARIANT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The table [web]."""

    listen: tuple[str, ...] = ("127.0.0.1:10147",)
    """Addresses to serve on, each HOST:PORT or [HOST]:PORT; an empty list serves nothing."""
    config_file: str = ""
    """TLS and passwords: a web config file in the format of the Prometheus exporter-toolkit."""
    hosts: tuple[str, ...] = ()
    """Further host names that requests to a loopback address may carry; localhost and IP addresses always may."""
    max_connections: int = 256
    """Connections at once; more are closed."""
    max_requests: int = 40
    """Requests answered at once; more get 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """The table [metrics]."""

    max_series: int = 2000
    """Most series of one metric; what is folded beyond is counted in sockwatch_series_folded."""
    top: int = 20
    """How many listeners, processes, port budgets and peers get series of their own; the rest is "other"."""
    namespaces: int = 20
    """How many network namespaces get series of their own; the rest is "other"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """[[alerts.silences]]: alerts that match all of its patterns notify nobody. `*` and `?` stand for any text."""

    code: str = "*"
    """Which finding."""
    variant: str = "*"
    """Which variant of it."""
    netns: str = "*"
    """In which network namespace."""
    local: str = "*"
    """The local ADDR:PORT."""
    remote: str = "*"
    """The remote ADDR:PORT."""
    process: str = "*"
    """The name of the process."""
    unit: str = "*"
    """Its systemd unit."""
    container: str = "*"
    """Its container."""
    until: str = ""
    """When it ends, as 2030-12-31T23:59:59Z; empty is never."""
    why: str = ""
    """Who made it, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """The table [alerts]."""

    severity: str = "warning"
    """Findings from this severity on become alerts: warning or critical."""
    for_: float = 30.0
    """How long a finding must be there before somebody is told; a critical one is told of at once."""
    keep_firing_for: float = 60.0
    """How long it must be gone before the alert is resolved."""
    repeat_interval: float = 14400.0
    """How long until a firing alert is told of once more; 0 is never."""
    blind_after: int = 3
    """So many looks that fail in a row make the alert `blind`."""
    silences: tuple[Silence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSink:
    """[sinks.NAME] with type = "exec": a program, without a shell."""

    command: tuple[str, ...]
    """The program, by its absolute path, and its arguments."""
    timeout: float = 30.0
    """How long it may run; then its processes are terminated, and 5 s later killed."""
    send_resolved: bool = True
    """Whether it is told when an alert is over."""
    environment: dict[str, str] = field(default_factory=dict)
    """Further variables of its environment, which is otherwise empty but for PATH, LANG and SOCKWATCH_*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSink:
    """[sinks.NAME] with type = "webhook": a POST in the shape of Alertmanager's webhook, version 4."""

    url: str
    """Where to, http or https."""
    timeout: float = 10.0
    """How long one request may take."""
    send_resolved: bool = True
    """Whether it is told when an alert is over."""
    bearer_token_file: str = ""
    """A file with a token for the Authorization header, read before each request."""
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers."""
    ca_file: str = ""
    """Certificates that are trusted instead of the system's, for https."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerSink:
    """[sinks.NAME] with type = "alertmanager": API v2 of one or several Alertmanagers, all of which are told."""

    urls: tuple[str, ...]
    """Base URLs, as http://127.0.0.1:9093; all of them are sent every alert."""
    timeout: float = 10.0
    """How long one request may take."""
    resend: float = 60.0
    """How often what fires is sent again, as Alertmanager expects it."""
    labels: dict[str, str] = field(default_factory=dict)
    """Further labels of every alert."""
    bearer_token_file: str = ""
    """A file with a token for the Authorization header, read before each request."""
    ca_file: str = ""
    """Certificates that are trusted instead of the system's, for https."""


Sink = ExecSink | WebhookSink | AlertmanagerSink


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """The table [history]."""

    enabled: bool = True
    """Whether counts and findings are kept over restarts."""
    max_bytes: int = 100_000_000
    """The size of the store; the oldest goes first."""
    max_age: float = 604800.0
    """How long counts and findings are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """All tables but those of the detectors."""

    poll: PollSettings = PollSettings()
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    alerts: AlertSettings = AlertSettings()
    sinks: dict[str, Sink] = field(default_factory=dict)
    history: HistorySettings = HistorySettings()
    state_directory: str = ""
    """Where the alerts' state, the outbox and the history are kept; default: $STATE_DIRECTORY, which systemd sets,
    else $XDG_STATE_HOME/sockwatch."""
