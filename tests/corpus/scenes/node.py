"""Node.js as a web server, and one that leaks."""

import time

from corpus.host import Host, Scene
from corpus.scenes.nginx import PORT, load

WEB = f"require('http').createServer((_, answer) => answer.end('hello')).listen({PORT}, '127.0.0.1')"
LEAKING = f"""
const kept = []
const take = (connection) => {{ kept.push(connection); connection.resume(); connection.on('error', () => 0) }}
require('net').createServer({{ allowHalfOpen: true }}, take).listen({PORT}, '127.0.0.1')
"""


def web(host: Host) -> None:
    """Kept and short connections."""
    host.start("node", "-e", WEB, listens=PORT)
    host.look()
    idle = host.connect(PORT, 23)
    for options in (("-k",), ()):
        with load(host, *options, requests=2003):
            host.look()
            host.look()
    for one in idle:
        one.close()
    host.look()


def half_open(host: Host) -> None:
    """`allowHalfOpen` without end(): the end of the stream is read and the socket is kept."""
    host.start("node", "-e", LEAKING, listens=PORT)
    clients = host.connect(PORT, 23)
    host.until_states(established=46)
    for client in clients:
        client.close()
    host.until_states(close_wait=23)
    time.sleep(1)
    host.until_found("close_wait_leak/not_closed")


SCENES = (
    Scene(name="node_web", play=web, programs=("node", "ab")),
    Scene(name="node_half_open", play=half_open, programs=("node",)),
)
