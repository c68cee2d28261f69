"""What counting sockets takes."""

import tracemalloc

import numpy as np

from builders import namespace, snapshot, socket
from sockwatch.export.web.socket_groups import group_sockets
from sockwatch.model.state import State


def test_a_namespace_without_sockets_takes_next_to_nothing() -> None:
    """A table of all ports for each of 200 took 13 MB."""
    rows = [socket(State.LISTEN, "0.0.0.0:80"), socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.9:5432")]
    peaks = []
    for count in (1, 1, 200):  # the first loads what is loaded once
        seen = snapshot(*rows, namespaces=[namespace(f"blue{i}") for i in range(count)])
        tracemalloc.start()
        groups = group_sockets(seen, np.arange(2, dtype=np.int32), 20)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert [(one.name, one.side, one.count) for one in groups.port] == [("80", "local", 2)]
    assert peaks[2] <= 2 * peaks[1]
