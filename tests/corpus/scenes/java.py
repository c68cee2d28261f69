"""Java: the JDK's web server, and a server that is stuck before accept()."""

import time

from corpus.host import Host, Scene
from corpus.scenes.nginx import PORT, load

WEB = f"""
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

public class Web {{
    public static void main(String[] arguments) throws Exception {{
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", {PORT}), 0);
        server.createContext("/", exchange -> {{
            exchange.sendResponseHeaders(200, 5);
            exchange.getResponseBody().write("hello".getBytes());
            exchange.close();
        }});
        server.start();
    }}
}}
"""
STUCK = f"""
import java.net.InetAddress;
import java.net.ServerSocket;

public class Stuck {{
    public static void main(String[] arguments) throws Exception {{
        new ServerSocket({PORT}, 0, InetAddress.getByName("127.0.0.1"));
        Thread.sleep(600_000);
    }}
}}
"""
DEFAULT_BACKLOG = 50


def _start(host: Host, name: str, source: str) -> None:
    host.start("java", "-XX:TieredStopAtLevel=1", str(host.write(f"{name}.java", source)), listens=PORT)


def web(host: Host) -> None:
    """Kept and short connections."""
    _start(host, "Web", WEB)
    host.look()
    host.connect(PORT, 23)
    for options in (("-k",), ()):
        with load(host, *options, requests=2003):
            host.look()
            host.look()
    host.look()


def stuck(host: Host) -> None:
    """Nobody calls accept(): the queue fills up to Java's default backlog; the first clients have given up."""
    _start(host, "Stuck", STUCK)
    for client in host.connect(PORT, DEFAULT_BACKLOG + 1)[:23]:
        client.close()
    host.until_states(close_wait=23)
    time.sleep(1)
    host.until_found("accept_queue_overflow/application_backlog", "close_wait_leak/never_accepted")


SCENES = (
    Scene(name="java_web", play=web, programs=("java", "javac", "ab")),
    Scene(name="java_stuck", play=stuck, programs=("java", "javac")),
)
