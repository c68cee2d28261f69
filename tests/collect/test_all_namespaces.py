"""`--netns all` with real namespaces: made, connected, crowded and destroyed while somebody looks."""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from box import until
from netns import CLONE_NEWNET, PrivateNetns, keep
from reports import VALIDATOR
from scenery import STATES
from sockwatch.cli.capture import take_looks
from sockwatch.cli.check import with_min_age
from sockwatch.clock import SystemClock
from sockwatch.collect import namespaces
from sockwatch.collect.capture import ReplaySource, save_capture
from sockwatch.collect.live import LiveSource
from sockwatch.collect.namespaces import Place, own_inode, visit
from sockwatch.collect.redact import redact
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import DumpError
from sockwatch.lab.namespace import exit_now
from sockwatch.lab.packet_filter import EVERYTHING, drop
from sockwatch.model.snapshot import Asks, FollowUp, Snapshot
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN
from sockwatch.pipeline import Pipeline

KEEPALIVE = "net.ipv4.tcp_keepalive_time"
COUNT = 23
ROUNDS = 1000
PORT = 8080
ASKS = Asks.union(detector.asks for detector in load_detectors().values())

_listener: list[socket.socket] = []


def wait_in_close_wait() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=COUNT) as listener:
        for _ in range(COUNT):
            client = socket.create_connection(listener.getsockname())
            server, _address = listener.accept()
            keep(server)
            client.close()
            assert not server.recv(1, socket.MSG_PEEK)


def leave_time_wait(count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(count):
            with socket.create_connection(listener.getsockname()) as client:
                server, _ = listener.accept()
                client.close()
                assert not server.recv(1)
                server.close()


def leave_an_orphan() -> None:
    """FIN_WAIT_1 without a process, at both ends: nobody hears anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        for end in (client, server):
            drop(end, EVERYTHING)
        client.close()
        server.close()


def listen(address: str = "127.0.0.1", port: int = 0) -> None:
    keep(socket.create_server((address, port)))


def bind_udp() -> None:
    keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 5353))


def count_with_ss() -> dict[str, int]:
    rows = subprocess.run(["ss", "-Htan"], capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(Counter(STATES[row.split()[0]] for row in rows))


def by_namespace(snapshot: Snapshot) -> dict[int, dict[str, int]]:
    """Inode -> state -> sockets, without zeros."""
    return {
        namespace.inode: {
            state.label: n
            for state, n in snapshot.sockets.take(snapshot.sockets.netns == number).count_by_state().items()
            if n
        }
        for number, namespace in enumerate(snapshot.namespaces)
    }


def tour() -> tuple[dict[int, Any], dict[int, Any], list[Any]]:
    """Counts per namespace in each of three looks and what ss says inside; then what else must be right."""
    with ExitStack() as stack:
        leak, quiet, orphan, idle = (stack.enter_context(PrivateNetns()) for _ in range(4))
        leak.set_sysctl(KEEPALIVE, "23")
        leak.run(wait_in_close_wait)
        quiet.run(leave_time_wait, COUNT)
        orphan.run(leave_an_orphan)
        idle.run(listen)
        idle.run(bind_udp)
        members = {netns.path.stat().st_ino: netns for netns in (leak, quiet, orphan, idle)}
        with_ss = {inode: netns.run(count_with_ss) for inode, netns in members.items()}
        source = LiveSource(clock=SystemClock(), netns="all")
        looks = [source.look(ASKS) for _ in range(3)]
        snapshot = source.follow_up(looks[-1], FollowUp(suspects=looks[-1].sockets, autobound=True))
        here = [{inode: by_namespace(look)[inode] for inode in members} for look in looks]
        assert here[0] == here[1] == here[2]
        named = {namespace.inode: namespace for namespace in snapshot.namespaces}
        numbers = {namespace.inode: number for number, namespace in enumerate(snapshot.namespaces)}
        inode = leak.path.stat().st_ino
        waiting = snapshot.sockets.take(snapshot.sockets.netns == numbers[inode])
        facts = [
            snapshot.namespaces[0].inode == own_inode(),
            named[inode].sysctls[KEEPALIVE],
            named[inode].counters["Tcp.PassiveOpens"],
            [process.pid for process in snapshot.owners.holders(waiting)] == [leak.pid],
            sorted(set(waiting.autobound.tolist())),
            snapshot.udp.sport[snapshot.udp.netns == numbers[idle.path.stat().st_ino]].tolist(),
            len({namespace.name for namespace in snapshot.namespaces}) == len(snapshot.namespaces),
            [n.name for n in snapshot.namespaces if any("TCP.orphan" in c for c in n.counters) and n.name != "host"],
            [name for name in ("net.ipv4.tcp_max_orphans", "net.ipv4.tcp_mem") if name in named[inode].sysctls],
        ]
    return here[0], with_ss, facts


@pytest.mark.needs_program("ss")
def test_every_namespace_has_its_own_counts_counters_sysctls_and_holders() -> None:
    with PrivateNetns() as netns:
        ours, with_ss, facts = netns.run(tour)
    assert ours == with_ss
    assert list(ours.values()) == [
        {"close_wait": COUNT, "fin_wait_2": COUNT},
        {"time_wait": COUNT},
        {"fin_wait_1": 2},
        {"listen": 1},
    ]
    assert facts == [True, "23", COUNT, True, [1, AUTOBOUND_UNKNOWN], [5353], True, [], []]


def come_and_go(connection: Any) -> None:
    """A process that leaves each namespace for a new one, so many times."""
    libc = ctypes.CDLL(None)
    for _ in range(ROUNDS):
        libc.unshare(CLONE_NEWNET)
        socket.socket().bind(("0.0.0.0", 0))  # noqa: S104 - in a namespace without interfaces
    connection.send(own_inode())


def race() -> dict[str, Any]:
    """Look while namespaces come and go."""
    from multiprocessing import Pipe  # noqa: PLC0415 - in the child

    mine, theirs = Pipe()
    pid = os.fork()
    if not pid:
        try:
            come_and_go(theirs)
        finally:
            exit_now()
    source = LiveSource(clock=SystemClock(), netns="all")
    home, looks, seen = own_inode(), 0, set()
    wrong: list[object] = []
    while not mine.poll():
        snapshot = source.look(Asks())
        looks += 1
        seen |= {namespace.cookie for namespace in snapshot.namespaces}
        names = [namespace.name for namespace in snapshot.namespaces]
        wrong += [n for n in snapshot.namespaces if n.name.startswith("net:[") and n.name != f"net:[{n.inode}]"]
        wrong += [gap for gap in snapshot.gaps if gap.fatal]
        if len(set(names)) < len(names) or snapshot.namespaces[0].inode != home or own_inode() != home:
            wrong.append(names)
    os.waitpid(pid, 0)
    last = mine.recv()
    fds = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {
        "wrong": wrong,
        "looks": looks > 0,
        "namespaces": len(seen) > 2,
        "still": [n.name for n in source.look(Asks()).namespaces if n.inode == last],
        "fds": [link for link in fds if link.startswith("net:")],
        "threads": threading.active_count(),
    }


def test_namespaces_that_come_and_go_while_somebody_looks_are_no_error_and_are_not_kept() -> None:
    with PrivateNetns() as netns:
        assert netns.run(race) == {
            "wrong": [],
            "looks": True,
            "namespaces": True,
            "still": [],
            "fds": [],
            "threads": 1,
        }


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


def look_at_a_veth() -> None:
    """A namespace that is joined to ours is looked at, then its process ends: our end of the veth goes with it."""
    with PrivateNetns() as netns:
        join(os.getpid(), netns.pid)
        netns.run(listen)
        source = LiveSource(clock=SystemClock(), netns="all")
        for _ in range(3):
            assert netns.path.stat().st_ino in {n.inode for n in source.look(ASKS).namespaces}
    devices = Path("/proc/thread-self/net/dev")
    until(lambda: f"v{os.getpid()}" not in devices.read_text(), what="the namespace that was looked at is gone")


def test_a_namespace_that_was_looked_at_is_not_kept() -> None:
    with PrivateNetns() as netns:
        netns.run(look_at_a_veth)


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


def fail_in(inode: int) -> None:
    if own_inode() == inode:
        raise DumpError("the kernel refused the dump")


def one_that_fails() -> tuple[list[str], int]:
    """A dump that fails in one namespace takes the others with it no more than the status."""
    with PrivateNetns() as sick, PrivateNetns() as sound:
        source = LiveSource(clock=SystemClock(), netns="all")
        bad, good = sick.path.stat().st_ino, sound.path.stat().st_ino
        read = source._reader.read  # noqa: SLF001 - the place where a dump fails

        def read_or_fail(asks: Asks) -> Any:
            fail_in(bad)
            return read(asks)

        source._reader.read = read_or_fail  # type: ignore[method-assign]  # noqa: SLF001 - as above
        snapshot = source.look(Asks())
        gaps = [gap.what for gap in snapshot.gaps if gap.fatal]
        assert gaps == [f"namespace net:[{bad}]"]
        return [n.name for n in snapshot.namespaces if n.inode == bad], sum(
            n.inode == good for n in snapshot.namespaces
        )


def test_a_dump_that_fails_in_one_namespace_is_a_fatal_gap_and_the_others_are_seen() -> None:
    with PrivateNetns() as netns:
        assert netns.run(one_that_fails) == ([], 1)


def test_a_caller_that_is_elsewhere_afterwards_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "own_inode", iter([1, 2]).__next__)
    with pytest.raises(DumpError, match="in another network namespace than before"):
        visit([], lambda _place: None)


def test_places_are_visited_by_a_thread_that_ends() -> None:
    with PrivateNetns() as netns:
        assert netns.run(visit_and_tell) == (True, True)


def visit_and_tell() -> tuple[bool, bool]:
    with PrivateNetns() as one, PrivateNetns() as two:
        places = [Place(inode=netns.path.stat().st_ino, name="x", paths=(str(netns.path),)) for netns in (one, two)]
        home, seen, threads = own_inode(), [], set()

        def note(_place: Place | None = None) -> None:
            seen.append(own_inode())
            threads.add(threading.get_ident())

        visit(places, note, first=note)
        inside = seen == [home, *(place.inode for place in places)] and own_inode() == home
        return inside, len(threads) == 1 and threading.get_ident() not in threads and threading.active_count() == 1


def capture_and_replay(folder: Path) -> tuple[list[str], list[bool]]:
    """Names in the report of a redacted capture, and whether the replay of another says what its looks said."""
    with PrivateNetns() as leak, PrivateNetns() as idle:
        leak.run(wait_in_close_wait)
        idle.run(listen)
        looks = take_looks("all", None)
        save_capture(folder / "a", looks)
        save_capture(folder / "b", redact(looks))
        [look] = looks
        replayed = ReplaySource.open(folder / "a").look(Asks())
        alike = [
            replayed.namespaces == look.namespaces,
            by_namespace(replayed) == by_namespace(look),
            {namespace.cookie for namespace in look.namespaces} > {0} or len(look.namespaces) > 2,
            by_namespace(look)[leak.path.stat().st_ino] == {"close_wait": COUNT, "fin_wait_2": COUNT},
        ]
        redacted = ReplaySource.open(folder / "b").look(Asks())
        alike.append(list(by_namespace(redacted).values()) == list(by_namespace(look).values()))
        return [namespace.name for namespace in redacted.namespaces], alike


def test_a_capture_of_all_namespaces_replays_to_the_same(tmp_path: Path) -> None:
    with PrivateNetns() as netns:
        names, alike = netns.run(capture_and_replay, tmp_path)
    assert all(alike), alike
    assert all(name == "host" or name.startswith(("net:[", "netns-")) for name in names)


def run_check() -> tuple[int, dict[str, Any], str]:
    """`sockwatch check --netns all` with JSON and as text; exit code, report, text."""
    with PrivateNetns() as leak:
        leak.run(wait_in_close_wait)
        command = [sys.executable, "-m", "sockwatch", "check", "--netns", "all", "--min-age", "0"]
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
        assert not done.stderr
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return done.returncode, json.loads(done.stdout), text


def test_the_report_of_all_namespaces_sums_over_them_and_says_where() -> None:
    with PrivateNetns() as netns:
        own = f"net:[{netns.path.stat().st_ino}]"
        code, report, text = netns.run(run_check)
    VALIDATOR.validate(report)
    assert code in {1, 2}
    spaces = report["namespaces"]
    assert spaces[0]["netns"] == own
    assert (report["counters"], report["sysctls"]) == (spaces[0]["counters"], spaces[0]["sysctls"])
    assert report["sockets"]["total"] == sum(space["sockets"]["total"] for space in spaces)
    leaks = [
        f["subject"]["netns"] for f in report["findings"] if f["code"] == "close_wait_leak" and f["count"] == COUNT
    ]
    assert set(leaks) <= {space["netns"] for space in spaces} - {own}
    assert any(f"in namespace {name}" in " ".join(text.split()) for name in leaks)
    assert "namespaces  " in text
