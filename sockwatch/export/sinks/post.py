"""One HTTP POST that ends when it has to, whatever the other side does."""

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Url, make_headers, parse_url

from sockwatch import __version__
from sockwatch.clock import Clock
from sockwatch.export.sinks.outcome import Outcome, Reason, Result, delivered, failed, refused
from sockwatch.model.printable import printable

MOST_ANSWER = 65536
_MOST_TOKEN = 65536
_SHOWN = 200
_LEAST_SECONDS = 0.001
_DIVISIBLE = {400, 413, 422}
"""What a receiver says to a body; other 4xx are about who asks, or where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to, and how to be believed there. `repr` keeps the secrets: paths, headers, tokens."""

    url: Url
    headers: Mapping[str, str]
    bearer_token_file: str
    ca_file: str
    timeout: float

    def __repr__(self) -> str:
        return f"{self.url.scheme}://{self.url.netloc}"


def target(url: str, *, timeout: float, headers: Mapping[str, str], bearer_token_file: str, ca_file: str) -> Target:
    """Raises ValueError where the URL is none for http or https."""
    try:
        parsed = parse_url(url)
    except HTTPError:
        raise ValueError("not a URL") from None  # urllib3's text has it in full
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError("not a URL for http or https")
    try:
        parsed.host.encode("idna")  # as getaddrinfo() does
    except UnicodeError:
        raise ValueError("not a URL: no host has such a name") from None
    own = make_headers(basic_auth=unquote(parsed.auth)) if parsed.auth else {}
    return Target(
        url=parsed._replace(auth=None, fragment=None),
        headers={**own, **headers},
        bearer_token_file=bearer_token_file,
        ca_file=ca_file,
        timeout=timeout,
    )


class Poster:
    """Posts to one target, one request after the other; abort() may come from another thread."""

    def __init__(self, target: Target, clock: Clock) -> None:
        self.where = repr(target)
        self._target = target
        self._clock = clock
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._aborted = False

    def post(self, body: bytes) -> Outcome:
        """Send the body, as JSON, and say what became of it; the answer's status decides, not its body."""
        line = _Line(self._target.timeout, self._clock)
        with self._lock:
            if self._aborted:
                return failed(Reason.STOPPED, "not sent: the daemon ends")
            self._line = line
        try:
            return self._exchange(line, body)
        except ssl.SSLError as error:
            reason, why = Reason.TLS, getattr(error, "verify_message", "") or error.reason or "TLS failed"
        except TimeoutError:
            reason, why = Reason.TIMEOUT, "timed out"
        except OSError as error:
            reason, why = Reason.NETWORK, error.strerror or str(error) or type(error).__name__
        except (http.client.HTTPException, HTTPError) as error:
            reason, why = Reason.NETWORK, f"not an HTTP answer ({type(error).__name__})"
        finally:
            cut = line.close()
        if self._aborted:
            return failed(Reason.STOPPED, f"{self._target}: cut off, because the daemon ends")
        if cut:
            return failed(Reason.TIMEOUT, f"{self._target}: no answer within {self._target.timeout:g} s")
        return failed(reason, f"{self._target}: {printable(str(why))}")

    def abort(self) -> None:
        """Cut off what is under way, and send no more."""
        with self._lock:
            self._aborted = True
            if self._line is not None:
                self._line.cut()

    def _exchange(self, line: "_Line", body: bytes) -> Outcome:
        headers = {"User-Agent": f"sockwatch/{__version__}", **self._target.headers, "Content-Type": "application/json"}
        try:
            headers |= _authorization(self._target.bearer_token_file)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return failed(Reason.TOKEN, f"{self._target.bearer_token_file}: {why}")
        try:
            connection = _connection(self._target, line)
        except OSError as error:
            return failed(Reason.TLS, f"{self._target.ca_file}: {error.strerror}")
        try:
            connection.request(
                "POST", self._target.url.request_uri, body=body, headers=headers, preload_content=False,
                decode_content=False,
            )  # fmt: skip
            response = connection.getresponse()
            line.check()  # what was cut off in the headers looks whole
            outcome = _outcome(response.status, f"{self._target}: {response.status}{_complaint(response)}")
            if outcome.result is Result.FAILED:
                asked = _seconds(response.headers.get("Retry-After", ""), self._clock)
                outcome = replace(outcome, retry_after=asked)
            return outcome
        finally:
            connection.close()


class _Line:
    """The socket of a request, and the end of its time."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False
        self._closed = False
        self._timer = threading.Timer(seconds, self.cut)
        self._timer.daemon = True
        self._timer.start()

    def hold(self, connecting: socket.socket) -> None:
        """The socket to cut; a duplicate of it is kept, as TLS takes the socket itself over."""
        with self._lock:
            if self._cut:
                raise TimeoutError
            if self._socket is not None:
                self._socket.close()
            self._socket = connecting.dup()

    def cut(self) -> None:
        """End all that waits for the socket: shutdown() wakes a connect() too (inet_shutdown, net/ipv4/af_inet.c)."""
        with self._lock:
            if self._closed:
                return
            self._cut = True
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # it is not connected any more

    def left(self) -> float:
        """Seconds until it is cut."""
        return max(self._until - self._clock.monotonic(), 0.0)

    def check(self) -> None:
        """Raise TimeoutError if it was cut."""
        with self._lock:
            if self._cut:
                raise TimeoutError

    def close(self) -> bool:
        """The request is over; whether it was cut off."""
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._socket is not None:
                self._socket.close()
            return self._cut


class _Plain(HTTPConnection):
    line: _Line

    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port, self.line)


class _Encrypted(HTTPSConnection):
    line: _Line

    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port, self.line)


def _connection(target: Target, line: _Line) -> _Plain | _Encrypted:
    url, host = target.url, (target.url.host or "").strip("[]")
    connection: _Plain | _Encrypted
    if url.scheme == "https":
        context = ssl.create_default_context(cafile=target.ca_file or None)
        connection = _Encrypted(host, url.port, ssl_context=context, timeout=target.timeout)
    else:
        connection = _Plain(host, url.port, timeout=target.timeout)
    connection.line = line
    return connection


def _connect(host: str, port: int, line: _Line) -> socket.socket:
    """The first address that answers; each that is still to be tried has its share of what is left of the time."""
    trouble: OSError | None = None
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        connecting = socket.socket(family, kind, protocol)
        try:
            line.hold(connecting)
            connecting.settimeout(line.left() / (len(addresses) - tried) or _LEAST_SECONDS)
            connecting.connect(address)
            connecting.settimeout(None)  # the line is cut in time
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connecting.close()
            line.check()
            trouble = error
        else:
            return connecting
    raise trouble or OSError("no address")


def _authorization(token_file: str) -> Mapping[str, str]:
    if not token_file:
        return {}
    with Path(token_file).open("rb") as file:
        token = file.read(_MOST_TOKEN).strip()
    if not re.fullmatch(rb"[\x21-\x7e]+", token):
        raise ValueError("no token: it must be one line of printable ASCII")
    return {"Authorization": f"Bearer {token.decode('ascii')}"}


def _seconds(retry_after: str, clock: Clock) -> float | None:
    """Both forms of Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
        at = (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(at - clock.unixtime(), 0.0)


def _complaint(response: BaseHTTPResponse) -> str:
    """The beginning of what it says about its status, where that is no success; the status alone decides."""
    if response.status // 100 == 2:  # noqa: PLR2004 - the hundred says it all
        return ""
    try:
        answer = response.read(MOST_ANSWER)
    except (OSError, http.client.HTTPException, HTTPError):
        return ""
    text = printable(answer[:_SHOWN].decode(errors="backslashreplace").strip())
    return f" ({text})" if text else ""


def _outcome(status: int, detail: str) -> Outcome:
    match status // 100:
        case 2:
            return delivered(detail)
        case 3:
            return refused(Reason.REDIRECT, f"{detail}; redirects are not followed")
        case 4 if status == http.client.TOO_MANY_REQUESTS:
            return failed(Reason.RATE_LIMIT, detail)
        case 4:
            return refused(Reason.CLIENT_ERROR, detail, divisible=status in _DIVISIBLE)
        case _:
            return failed(Reason.SERVER_ERROR, detail)
