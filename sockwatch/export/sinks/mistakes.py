"""What is wrong with sinks that only a look at this machine shows; `config check`, a start and a reload ask for it."""

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from sockwatch.errors import UsageError
from sockwatch.export.sinks.alertmanager import PATH
from sockwatch.export.sinks.labels import OWN_LABELS
from sockwatch.export.sinks.post import target
from sockwatch.export.sinks.program import opened_program
from sockwatch.export.web.regular_file import read_regular
from sockwatch.model.remark import Remark
from sockwatch.model.settings import AlertmanagerSink, ExecSink, Sink, WebhookSink

_API = re.compile(r"/api/v[12](/alerts)?/*$")
"""The end of an address to which clients of an Alertmanager post."""
_CREDENTIALS = "/run/credentials/"
"""Where a service finds what LoadCredential= gives it (systemd.exec(5))."""


def mistakes(sinks: Mapping[str, Sink]) -> Iterator[str]:
    """What keeps them from ever being told, one line each, without secrets."""
    return (remark.text for remark in remarks(sinks) if not remark.warning)


def remarks(sinks: Mapping[str, Sink]) -> Iterator[Remark]:
    """Mistakes, and warnings of what may be right once the daemon needs it; without secrets."""
    for name, sink in sinks.items():
        for key, what in _mistakes(sink):
            yield Remark(at=("sinks", name, *key.split(".")), text=f"sinks.{name}.{key}: {what}")
        for key, what in _missing_secrets(sink):
            yield Remark(at=("sinks", name, key), text=f"sinks.{name}.{key}: {what}", warning=True)


def _mistakes(sink: Sink) -> Iterator[tuple[str, str]]:
    match sink:
        case ExecSink():
            try:
                with opened_program(sink.command[0]):
                    return
            except UsageError as refusal:
                yield "command", str(refusal)
        case WebhookSink():
            if bool(sink.url) is bool(sink.url_file):
                only = "only one of url and url_file may be set"
                yield "url", only if sink.url else "one of url and url_file must be set"
            yield from _wrong_urls("url", (sink.url,) if sink.url else ())
            yield from _wrong_certificates(sink.ca_file)
        case AlertmanagerSink():
            yield from _wrong_urls("urls", sink.urls)
            if any(_API.search(url) for url in sink.urls):
                yield "urls", f"must be base URLs, as http://127.0.0.1:9093: {PATH} is added to them"
            for label in sorted(OWN_LABELS & sink.labels.keys()):
                yield f"labels.{label}", "sockwatch sets this label itself"
            yield from _wrong_certificates(sink.ca_file)


def _wrong_urls(key: str, urls: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for url in urls:
        try:
            target(url, timeout=1, headers={}, bearer_token_file="", ca_file="")
        except ValueError as error:
            yield key, str(error)


def _wrong_certificates(file: str) -> Iterator[tuple[str, str]]:
    if not file:
        return
    try:
        read_regular(Path(file))
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except UsageError as error:
        yield "ca_file", str(error)
    except ssl.SSLError:
        yield "ca_file", f"{file}: no certificate in it"
    except OSError as error:
        yield "ca_file", f"{file}: {error.strerror}"


def _missing_secrets(sink: Sink) -> Iterator[tuple[str, str]]:
    """Files that are read before each request, and may come later; systemd's are there while the service runs."""
    files = {} if isinstance(sink, ExecSink) else {"bearer_token_file": sink.bearer_token_file}
    if isinstance(sink, WebhookSink):
        files["url_file"] = sink.url_file
    for key, file in files.items():
        if file and not file.startswith(_CREDENTIALS):
            try:
                read_regular(Path(file))
            except UsageError as error:
                yield key, f"{error}: nothing is delivered as long as it cannot be read"
