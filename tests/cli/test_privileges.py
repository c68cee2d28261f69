"""What each capability buys: the table of docs/privileges.md, held against runs with exactly these capabilities."""

import ctypes
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract.repository import ROOT
from netns import PrivateNetns, keep

COUNT = 23
AS_NOBODY = Path(__file__).parent / "with_capabilities.py"
ADMIN, PTRACE, READ, NET = "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN"
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x0002_0000, 4096, 16384, 1 << 18
INITIAL_PID_NAMESPACE = 0xEFFF_FFFC
SETS = ((), (NET,), (ADMIN,), (PTRACE,), (READ,), (PTRACE, READ), (ADMIN, PTRACE), (ADMIN, PTRACE, READ))
ROW = re.compile(r"^\| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)

pytestmark = pytest.mark.needs_root


def leak() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=COUNT) as listener:
        for _ in range(COUNT):
            client = socket.create_connection(listener.getsockname())
            server, _address = listener.accept()
            keep(server)
            client.close()
            assert not server.recv(1, socket.MSG_PEEK)


def check(capabilities: tuple[str, ...], *options: str) -> dict[str, Any]:
    """The report of a run by user 65534."""
    command = [sys.executable, str(AS_NOBODY), ",".join(capabilities), "check", "--json", "--min-age", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode < 3, done.stderr) == (True, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def named(report: dict[str, Any], netns: str) -> set[int | None]:
    """The processes of the leak in this namespace; None is one that could not be seen."""
    subjects = [f["subject"] for f in report["findings"] if f["code"] == "close_wait_leak"]
    return {s["process"] and s["process"]["pid"] for s in subjects if s["netns"] == netns}


def documented() -> dict[tuple[str, ...], tuple[bool, bool, bool]]:
    """The capabilities of each row, and whether it says yes to sockets here, holders here, other namespaces."""
    page = (ROOT / "docs" / "privileges.md").read_text(encoding="utf-8")
    rows = [row for row in ROW.findall(page) if row[1] in {"yes", "no"}]
    return {
        tuple(re.findall(r"CAP_[A-Z_]+", row[0])): (row[1] == "yes", row[2] == "yes", row[3] == "yes") for row in rows
    }


@pytest.mark.parametrize("capabilities", SETS, ids=lambda names: "+".join(names) or "none")
def test_a_set_of_capabilities_buys_what_the_page_says(capabilities: tuple[str, ...]) -> None:
    sockets, holders, others = documented()[capabilities]
    with PrivateNetns() as netns:
        netns.run(leak)
        name = f"net:[{netns.path.stat().st_ino}]"
        here = netns.run(check, capabilities)
        everywhere = check(capabilities, "--netns", "all")
    by_state = here["sockets"]["by_state"]
    assert ((by_state["close_wait"], by_state["fin_wait_2"]) == (COUNT, COUNT)) == sockets
    assert here["counters"]["Tcp.PassiveOpens"] == COUNT
    assert here["sysctls"]["net.ipv4.tcp_fin_timeout"] == "60"
    assert named(here, name) == {netns.pid if holders else None}
    assert any(gap["what"] == "owners" for gap in here["gaps"]) == (not holders)
    there = {space["netns"]: space["sockets"]["by_state"]["close_wait"] for space in everywhere["namespaces"]}
    assert there.get(name) == (COUNT if others else None)
    assert named(everywhere, name) == ({netns.pid if holders else None} if others else set())
    refused = [gap for gap in everywhere["gaps"] if "no permission to enter" in gap["why"]]
    assert bool(refused) == (not others)
    assert all(gap["count"] >= 1 for gap in refused)


def check_by_name(capabilities: tuple[str, ...], pid: int) -> dict[str, Any]:
    """As check(), of a namespace that has a name: in a mount namespace of our own, as /run/netns is the host's."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(CLONE_NEWNS)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    libc.mount(b"none", b"/run", b"tmpfs", 0, None)
    named = Path("/run/netns/blue")
    named.parent.mkdir()
    named.touch()
    libc.mount(f"/proc/{pid}/ns/net".encode(), bytes(named), None, MS_BIND, None)
    return check(capabilities, "--netns", "blue")


def test_a_namespace_with_a_name_is_entered_without_the_right_to_look_into_processes() -> None:
    with PrivateNetns() as elsewhere, PrivateNetns() as netns:
        netns.run(leak)
        [space] = elsewhere.run(check_by_name, (ADMIN,), netns.pid)["namespaces"]
    assert (space["netns"], space["sockets"]["by_state"]["close_wait"]) == ("blue", COUNT)


def check_behind(arguments: tuple[str, ...], capabilities: tuple[str, ...] | None) -> list[str]:
    """What a look at all namespaces does not see behind another /proc, as this user; None is root with everything."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(CLONE_NEWNS)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    who = ["-m", "sockwatch"] if capabilities is None else [str(AS_NOBODY), ",".join(capabilities)]
    command = [*arguments, sys.executable, *who, "check", "--json", "--netns", "all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode < 3, done.stderr) == (True, "")
    return [gap["why"] for gap in json.loads(done.stdout)["gaps"] if gap["what"] == "network namespaces"]


HIDEPID = ("sh", "-c", 'mount -t proc -o hidepid=$0 proc /proc && exec "$@"')
HIDDEN = "those of processes that /proc hides from this user are not seen (hidepid; CAP_SYS_PTRACE)"
OUTSIDE = "those of processes outside of this PID namespace are not seen"


@pytest.mark.parametrize("hidepid", ["1", "2", "4"])
def test_a_proc_that_hides_processes_is_a_gap(hidepid: str) -> None:
    with PrivateNetns() as netns:
        assert HIDDEN in netns.run(check_behind, (*HIDEPID, hidepid), ())
        assert HIDDEN not in netns.run(check_behind, (*HIDEPID, hidepid), (PTRACE,))


def test_a_pid_namespace_is_a_gap() -> None:
    with PrivateNetns() as netns:
        assert OUTSIDE in netns.run(check_behind, ("unshare", "-p", "-f", "--mount-proc"), None)


def test_where_all_processes_are_seen_there_is_no_such_gap() -> None:
    if Path("/proc/self/ns/pid").stat().st_ino != INITIAL_PID_NAMESPACE:
        pytest.skip("kernel: this is not the initial PID namespace")
    with PrivateNetns() as netns:
        assert not {OUTSIDE, HIDDEN} & {*netns.run(check_behind, (), None), *netns.run(check_behind, (), ())}


def test_the_page_has_a_row_for_each_of_these_sets() -> None:
    assert set(documented()) == set(SETS)
