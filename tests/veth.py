"""A veth between two private network namespaces."""

import os
from typing import Any


def join(one: int, other: int) -> None:
    """A veth from one process's namespace to another's, with 10.23.0.1 and 10.23.0.2 at its ends."""
    from pyroute2 import IPRoute, NetNS  # noqa: PLC0415 - in the child

    with IPRoute() as route:
        route.link("add", ifname=f"v{one}", kind="veth", peer={"ifname": f"w{other}"})
        for name, pid, address in ((f"v{one}", one, "10.23.0.1"), (f"w{other}", other, "10.23.0.2")):
            index = route.link_lookup(ifname=name)[0]
            if pid == os.getpid():
                inside = route
                prepare(inside, index, address)
            else:
                route.link("set", index=index, net_ns_pid=pid)
                with NetNS(f"/proc/{pid}/ns/net") as inside:
                    prepare(inside, inside.link_lookup(ifname=name)[0], address)


def prepare(route: Any, index: int, address: str) -> None:
    route.addr("add", index=index, address=address, prefixlen=24)
    route.link("set", index=index, state="up")
