"""`--netns all` with real namespaces: made, connected, crowded and destroyed while somebody looks."""

import json
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netns import PrivateNetns, keep
from reports import VALIDATOR
from scenery import STATES
from sockwatch.cli.capture import take_looks
from sockwatch.clock import SystemClock
from sockwatch.collect.capture import ReplaySource, save_capture
from sockwatch.collect.live import LiveSource
from sockwatch.collect.namespaces import own_inode
from sockwatch.collect.redact import redact
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import DumpError
from sockwatch.lab.packet_filter import EVERYTHING, drop
from sockwatch.model.snapshot import Asks, FollowUp, Snapshot
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN

KEEPALIVE = "net.ipv4.tcp_keepalive_time"
COUNT = 23
ASKS = Asks.union(detector.asks for detector in load_detectors().values())


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
