"""What is wrong with sinks that only a look at this machine shows; `config check`, a start and a reload ask for it."""

from collections.abc import Iterator, Mapping

from sockwatch.errors import UsageError
from sockwatch.export.sinks.labels import OWN_LABELS
from sockwatch.export.sinks.post import target
from sockwatch.export.sinks.program import opened_program
from sockwatch.model.settings import AlertmanagerSink, ExecSink, Sink, WebhookSink


def mistakes(sinks: Mapping[str, Sink]) -> Iterator[str]:
    """One line each, without secrets."""
    for name, sink in sinks.items():
        for key, what in _mistakes(sink):
            yield f"sinks.{name}.{key}: {what}"


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
                yield "url", "one of url and url_file must be set"
            yield from _wrong_urls("url", (sink.url,) if sink.url else ())
        case AlertmanagerSink():
            yield from _wrong_urls("urls", sink.urls)
            for label in sorted(OWN_LABELS & sink.labels.keys()):
                yield f"labels.{label}", "sockwatch sets this label itself"


def _wrong_urls(key: str, urls: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for url in urls:
        try:
            target(url, timeout=1, headers={}, bearer_token_file="", ca_file="")
        except ValueError as error:
            yield key, str(error)
