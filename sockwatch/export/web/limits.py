"""How much one client may cost. What settles whether a limit is reached is in gate.py and connection.py."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    connections: int = 256
    requests: int = 40
    """Requests that are worked on; one whose answer is being sent is none."""
    streams: int = 32
    """Of /api/v1/events; they stay, so they have a limit of their own."""
    header_bytes: int = 8192
    """Of the request line and all headers."""
    header_seconds: float = 5.0
    """From the first byte of a request, or from the connection, to the end of the headers; TLS has as long before."""
    answer_seconds: float = 30.0
    """From the end of the headers until the client has read the answer; of a stream, how long it may not read."""
    idle_seconds: float = 120.0
    """Between two requests: longer than the usual scrape intervals."""
    chunk_bytes: int = 65536
    """What is handed to a connection at once; the rest of a page waits until the client reads."""
    sweep_seconds: float = 0.5
    """How often connections are held against these times."""
