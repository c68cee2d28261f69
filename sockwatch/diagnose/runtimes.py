"""What well-known runtimes do unless told otherwise: the backlog they ask for, and how programs commonly leak in them.

Known by the name of the process or its command line, so that all of this is a hint and says so. The numbers are those
of their documentation or source: server.listen() of Node.js, `listen` of nginx, tcp-backlog of redis.conf,
ListenBacklog of httpd, listen.backlog of php-fpm.conf, request_queue_size of Python's socketserver, asyncio's
create_server(), java.net.ServerSocket, acceptCount of Tomcat, `--backlog` of gunicorn and uvicorn, Puma's `bind`,
Kestrel's SocketTransportOptions, and listenerBacklog() in Go's net.
"""

import re
from dataclasses import dataclass

from sockwatch.model.snapshot import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One runtime or server: how its processes are called, its backlogs with where they are set, and its idioms."""

    name: str
    programs: re.Pattern[str]
    backlogs: tuple[tuple[int, str], ...] = ()
    leak: str | None = None
    half_close: str | None = None


RUNTIMES = (
    Runtime(
        name="gunicorn",
        programs=re.compile(r"gunicorn.*"),
        backlogs=((2048, "its setting backlog"),),
    ),
    Runtime(
        name="uvicorn",
        programs=re.compile(r"uvicorn"),
        backlogs=((2048, "its option --backlog"),),
    ),
    Runtime(
        name="Python",
        programs=re.compile(r"(?:python|pypy)[0-9.]*"),
        backlogs=(
            (5, "request_queue_size of http.server and socketserver"),
            (100, "backlog of asyncio's create_server()"),
        ),
        leak="a requests response with stream=True that is neither read to its end nor closed, or a socket that is "
        "not closed on every path: use `with`",
        half_close="a socket.shutdown(SHUT_WR) whose recv() then has no timeout: use settimeout(), and close()",
    ),
    Runtime(
        name="Node.js",
        programs=re.compile(r"node(?:js)?"),
        backlogs=((511, "the backlog argument of server.listen()"),),
        leak="a server with allowHalfOpen: true that does not call socket.end() when it gets 'end', or a response "
        "whose data nobody reads, so that 'end' never comes",
        half_close="socket.end(), which closes one half and waits for the other: use setTimeout() and destroy()",
    ),
    Runtime(
        name="Java",
        programs=re.compile(r"java"),
        backlogs=((50, "the backlog argument of ServerSocket"), (100, "acceptCount of Tomcat's connector")),
        leak="a stream, response or socket that is not closed on every path (try-with-resources), or a pool of Apache "
        "HttpClient, which does not notice that idle connections were closed: evictIdleConnections()",
        half_close="shutdownOutput() and then a read without setSoTimeout()",
    ),
    Runtime(
        name="Go",
        programs=re.compile(r"caddy|consul|containerd|coredns|dockerd|etcd|grafana|kubelet|prometheus|traefik|vault"),
        leak="a response whose Body is not closed (defer resp.Body.Close()), or a connection whose handler returns "
        "without Close()",
        half_close="CloseWrite() and then a Read() without SetReadDeadline()",
    ),
    Runtime(name="nginx", programs=re.compile(r"nginx"), backlogs=((511, "backlog= of its listen directive"),)),
    Runtime(name="Redis", programs=re.compile(r"redis-server"), backlogs=((511, "its setting tcp-backlog"),)),
    Runtime(name="Apache httpd", programs=re.compile(r"httpd|apache2"), backlogs=((511, "ListenBacklog"),)),
    Runtime(name="PHP-FPM", programs=re.compile(r"php-fpm.*"), backlogs=((511, "its setting listen.backlog"),)),
    Runtime(name="Puma", programs=re.compile(r"puma"), backlogs=((1024, "backlog= in its bind option"),)),
    Runtime(name=".NET", programs=re.compile(r"dotnet"), backlogs=((512, "Backlog of Kestrel's socket transport"),)),
)
_WORDS = 3
"""Of the command line of an interpreter: `python3 -m gunicorn`, `/usr/bin/python3 /usr/bin/gunicorn`."""
_INTERPRETER = re.compile(r"(?:python|pypy|ruby)[0-9.]*")
_TITLE = re.compile(r"[:\s]")


def runtime_of(process: Process) -> Runtime | None:
    """What this process seems to be, by the last words of what it runs: gunicorn comes before the Python it is in."""
    words = [word.strip("'").rpartition("/")[2] for word in (process.command or "").split(" ")[:_WORDS]]
    names = {process.name, *(words if _INTERPRETER.fullmatch(words[0]) else words[:1])}
    titles = {_TITLE.split(name, maxsplit=1)[0] for name in names}  # `nginx: worker process`
    return next((r for r in RUNTIMES if any(r.programs.fullmatch(title) for title in titles)), None)


def backlog_hint(process: Process, backlog: int) -> str | None:
    """Who asks for such a backlog unless told otherwise, and where that is set; None where nobody known does."""
    runtime = runtime_of(process)
    if runtime is not None:
        usual = [where for number, where in runtime.backlogs if number == backlog]
        return f"{runtime.name} asks for {backlog:,} unless told otherwise: see {usual[0]}." if usual else None
    usual = [f"{r.name} ({where})" for r in RUNTIMES for number, where in r.backlogs if number == backlog]
    return (
        f"A backlog of {backlog:,} is what some ask for unless told otherwise: {', '.join(usual)}." if usual else None
    )


def somaxconn_hint(process: Process) -> str | None:
    """Who asks for as much as there may be."""
    runtime = runtime_of(process)
    if runtime is not None and runtime.name != "Go":
        return None
    return "Programs in Go always ask for net.core.somaxconn, as it was when they first listened."


def leak_hint(process: Process) -> str | None:
    """How programs of this runtime commonly keep a connection that the peer has closed."""
    runtime = runtime_of(process)
    return None if runtime is None or runtime.leak is None else _seems(process, runtime, runtime.leak)


def half_close_hint(process: Process) -> str | None:
    """How programs of this runtime commonly wait for ever in FIN_WAIT_2."""
    runtime = runtime_of(process)
    return None if runtime is None or runtime.half_close is None else _seems(process, runtime, runtime.half_close)


def _seems(process: Process, runtime: Runtime, idiom: str) -> str:
    return f"{process.name} seems to be {runtime.name}; a common cause there: {idiom}."
