"""What the daemon can be told, with its defaults: one dataclass a table of the config file.

The string after each key is what `config.example.toml` says of it. Times are in seconds, sizes in bytes. What each
detector can be told stands with the detector.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from sockwatch.model.constraint import SECRET, Form, OneOf, Range, Share

_YEAR = 366 * 86400.0

Seconds = Annotated[float, Range(above=0, most=_YEAR)]
SecondsOrZero = Annotated[float, Range(most=_YEAR)]
Count = Annotated[int, Range(least=1, most=1e9)]
Path = Annotated[str, Form.PATH]
Url = Annotated[str, Form.URL]
Argument = Annotated[str, Form.ARGUMENT]


def _example(value: object) -> dict[str, Any]:
    """What config.example.toml shows instead of the default, as the metadata of a field."""
    return {"example": value}


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """The table [poll]."""

    interval: Annotated[float, Range(least=0.1, most=86400)] = 10.0
    """From the start of one look at the sockets to the start of the next."""
    namespaces: Annotated[str, Form.NAMESPACE] = "all"
    """Which network namespaces: "all" that can be entered, "current", a name in /run/netns, or a path."""
    cpu_share: Share = 0.05
    """The part of one core that looking may take on average; above it less is read, and the report says what."""
    seconds: Seconds = 2.0
    """How long one look may take; above it less is read, and the report says what."""
    ignore: tuple[Annotated[str, Form.FINDING], ...] = ()
    """Findings that are left out, each CODE or CODE/VARIANT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The table [web]."""

    listen: tuple[Annotated[str, Form.ADDRESS], ...] = ("127.0.0.1:10147",)
    """Addresses to serve on, each HOST:PORT or [HOST]:PORT; an empty list serves nothing."""
    config_file: Path = ""
    """TLS and passwords: a web config file in the format of the Prometheus exporter-toolkit."""
    hosts: tuple[Annotated[str, Form.HOST], ...] = ()
    """Further host names that requests to a loopback address may carry; localhost and IP addresses always may."""
    max_connections: Count = 256
    """Connections at once; more are closed."""
    max_requests: Count = 40
    """Requests answered at once; more get 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """The table [metrics]."""

    max_series: Count = 2000
    """Most series of one metric; what is folded beyond is counted in sockwatch_series_folded."""
    top: Count = 20
    """How many listeners, processes, port budgets and peers get series of their own; the rest is "other"."""
    namespaces: Count = 20
    """How many network namespaces get series of their own; the rest is "other"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """[[alerts.silences]]: alerts that match all of its patterns notify nobody. `*` and `?` stand for any text."""

    code: Annotated[str, Form.CODE_PATTERN] = field(default="*", metadata=_example("close_wait_leak"))
    """Which finding; blind is the alert that looks fail."""
    variant: Annotated[str, Form.VARIANT_PATTERN] = "*"
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
    until: Annotated[str, Form.INSTANT] = field(default="", metadata=_example("2030-12-31T23:59:59Z"))
    """When it ends, as 2030-12-31T23:59:59Z; empty is never."""
    why: str = field(default="", metadata=_example("jo: fixed in the next release"))
    """Who made it, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """The table [alerts]."""

    severity: Annotated[str, OneOf(("warning", "critical"))] = "warning"
    """Findings from this severity on become alerts: warning or critical."""
    for_: SecondsOrZero = 30.0
    """How long a finding must be there before somebody is told; a critical one is told of at once."""
    keep_firing_for: SecondsOrZero = 60.0
    """How long it must be gone before the alert is resolved."""
    repeat_interval: SecondsOrZero = 14400.0
    """How long until a firing alert is told of once more; 0 is never."""
    blind_after: Count = 3
    """So many looks that fail in a row make the alert `blind`."""
    silences: tuple[Silence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSink:
    """[sinks.NAME] with type = "exec": a program, without a shell."""

    type: ClassVar[str] = "exec"

    command: Annotated[tuple[Argument, ...], Form.COMMAND] = field(
        metadata=_example(("/usr/local/bin/tell", "--urgent"))
    )
    """The program, by its absolute path, and its arguments."""
    timeout: Seconds = 30.0
    """How long it may run; then its processes are terminated, and 5 s later killed."""
    send_resolved: bool = True
    """Whether it is told when an alert is over."""
    environment: dict[Annotated[str, Form.VARIABLE], Annotated[Argument, SECRET]] = field(default_factory=dict)
    """Further variables of its environment, which is otherwise empty but for PATH, LANG and SOCKWATCH_*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSink:
    """[sinks.NAME] with type = "webhook": a POST in the shape of Alertmanager's webhook, version 4."""

    type: ClassVar[str] = "webhook"

    url: Annotated[Url, SECRET] = field(default="", metadata=_example("https://hooks.example.com/tcp"))
    """Where to, http or https; it or `url_file` must be set."""
    url_file: Path = ""
    """A file with the URL instead, where that is a secret; read before each request."""
    timeout: Seconds = 10.0
    """How long one request may take."""
    send_resolved: bool = True
    """Whether it is told when an alert is over."""
    bearer_token_file: Path = ""
    """A file with a token for the Authorization header, read before each request."""
    headers: dict[Annotated[str, Form.HEADER], Annotated[str, Form.HEADER_VALUE, SECRET]] = field(default_factory=dict)
    """Further headers."""
    ca_file: Path = ""
    """Certificates that are trusted instead of the system's, for https."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerSink:
    """[sinks.NAME] with type = "alertmanager": API v2 of one or several Alertmanagers, all of which are told."""

    type: ClassVar[str] = "alertmanager"

    urls: Annotated[tuple[Url, ...], Form.SOME] = field(metadata=_example(("http://127.0.0.1:9093",)))
    """Base URLs, as http://127.0.0.1:9093; all of them are sent every alert."""
    timeout: Seconds = 10.0
    """How long one request may take."""
    resend: Seconds = 60.0
    """How often what fires is sent again, as Alertmanager expects it."""
    labels: dict[Annotated[str, Form.LABEL], str] = field(default_factory=dict)
    """Further labels of every alert."""
    bearer_token_file: Path = ""
    """A file with a token for the Authorization header, read before each request."""
    ca_file: Path = ""
    """Certificates that are trusted instead of the system's, for https."""


Sink = ExecSink | WebhookSink | AlertmanagerSink
"""The config tells them apart by `type`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """The table [history]."""

    enabled: bool = True
    """Whether counts and findings are kept over restarts."""
    max_bytes: Annotated[int, Range(least=1e6, most=1e12)] = 100_000_000
    """The size of the store; the oldest goes first."""
    max_age: Annotated[float, Range(least=60, most=10 * _YEAR)] = 604800.0
    """How long counts and findings are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """All tables but those of the detectors."""

    poll: PollSettings = PollSettings()
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    alerts: AlertSettings = AlertSettings()
    sinks: dict[Annotated[str, Form.NAME], Sink] = field(default_factory=dict)
    history: HistorySettings = HistorySettings()
    state_directory: Path = ""
    """Where the alerts' state, the outbox and the history are kept; default: $STATE_DIRECTORY, which systemd sets,
    else $XDG_STATE_HOME/sockwatch."""
