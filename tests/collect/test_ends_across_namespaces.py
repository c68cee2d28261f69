"""Connections whose ends are in two namespaces."""

import socket
from contextlib import ExitStack
from typing import Any

from netns import PrivateNetns, keep
from sockwatch.cli.check import with_min_age
from sockwatch.clock import SystemClock
from sockwatch.collect.live import LiveSource
from sockwatch.diagnose.registry import load_detectors
from sockwatch.pipeline import Pipeline
from veth import join

COUNT = 23
PORT = 8080
_listener: list[socket.socket] = []


def accept() -> None:
    keep([_listener[0].accept()[0] for _ in range(COUNT)])


def serve() -> None:
    _listener.append(keep(socket.create_server(("10.23.0.1", PORT), backlog=COUNT)))


def half_close() -> None:
    for _ in range(COUNT):
        keep(socket.create_connection(("10.23.0.1", PORT))).shutdown(socket.SHUT_WR)


def pairs(*, isolated: bool) -> list[dict[str, Any]]:
    """Findings of a server that never closes, whose clients are in another namespace."""
    with ExitStack() as stack:
        server, client, other, another = (stack.enter_context(PrivateNetns()) for _ in range(4))
        join(server.pid, client.pid)
        if isolated:
            join(other.pid, another.pid)
        for serving, calling in [(server, client), (other, another)][: 2 if isolated else 1]:
            serving.run(serve)
            calling.run(half_close)
            serving.run(accept)
        clock = SystemClock()
        pipeline = Pipeline(LiveSource(clock=clock, netns="all"), with_min_age(load_detectors(), 0.0), clock)
        inodes = {netns.path.stat().st_ino: who for who, netns in (("server", server), ("client", client))}
        report = pipeline.step()
        names = {n.namespace.name: inodes[n.namespace.inode] for n in report.namespaces if n.namespace.inode in inodes}
        pids = {server.pid: "server", client.pid: "client"}
        return [
            {
                "code": finding.name,
                "in": names[finding.subject.netns],
                "count": finding.count,
                "process": finding.subject.process and pids.get(finding.subject.process.pid),
                "other": finding.other_end
                and (
                    finding.other_end.state.label,
                    finding.other_end.process and pids.get(finding.other_end.process.pid),
                ),
            }
            for finding in report.findings
            if finding.subject.netns in names and finding.code in {"close_wait_leak", "fin_wait_2_stuck"}
        ]


def test_both_ends_of_a_connection_between_namespaces_are_named() -> None:
    with PrivateNetns() as netns:
        found = {finding["code"].partition("/")[0]: finding for finding in netns.run(pairs, isolated=False)}
    leak, stuck = found["close_wait_leak"], found["fin_wait_2_stuck"]
    assert (leak["in"], leak["count"], leak["process"]) == ("server", COUNT, "server")
    assert leak["other"] == ("fin_wait_2", "client")
    assert (stuck["in"], stuck["count"], stuck["process"]) == ("client", COUNT, "client")
    assert stuck["other"] == ("close_wait", "server")


def test_the_same_addresses_in_two_isolated_pairs_of_namespaces_are_no_pairs() -> None:
    with PrivateNetns() as netns:
        found = netns.run(pairs, isolated=True)
    assert {finding["in"] for finding in found} == {"server", "client"}
    assert all(finding["other"] is None for finding in found)
