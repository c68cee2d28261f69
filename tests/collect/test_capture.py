import io
import os
import resource
import stat
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies

import builders
from sockwatch.collect import capture
from sockwatch.collect.capture import ReplaySource, save_capture, write_capture
from sockwatch.collect.recording import encode_look
from sockwatch.errors import CaptureError, UsageError
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import UNKNOWN, Asks, Cgroup, FollowUp, Gap, Snapshot, SysctlSetting
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, COLUMN_TYPES, SocketTable
from sockwatch.model.state import State

MAGIC = b"sockwatch.capture/1\n"
VERSION_1 = Path(__file__).with_name("version-1.capture")
"""Written by the first release; every later one must read it."""
SYSCTLS = {
    "net.core.somaxconn": "4096",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.ip_local_reserved_ports": "",
    "net.ipv4.tcp_abort_on_overflow": "0",
    "net.ipv4.tcp_fin_timeout": "60",
    "net.ipv4.tcp_max_tw_buckets": "131072",
    "net.ipv4.tcp_tw_reuse": "2",
    "net.ipv4.tcp_tw_reuse_delay": "1000",
}
"""What VERSION_1 has."""
TABLES = ("sockets", "udp", "mptcp")
Change = Callable[[dict[str, Any], dict[str, bytes]], object]


def example() -> Snapshot:
    """A bit of everything that a snapshot can hold."""
    app = builders.process(10, "app", unit="app.service", container="0123456789ab", fds=23, fd_limit=1024)
    worker = builders.process(11, "worker")
    return builders.snapshot(
        builders.socket(State.LISTEN, "0.0.0.0:80", inode=1, recv_q=3, send_q=128),
        builders.socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:40000", inode=2, autobound=1, last_ack_recv=2000.5),
        builders.socket(State.CLOSE_WAIT, "[fd00::1]:80", "[fd00::2]:40001", inode=3, rtt=23.0, netns=1),
        builders.socket(State.TIME_WAIT, "127.0.0.1:40002", "127.0.0.1:80", timer=3, expires_ms=2**32 - 1),
        namespaces=[
            replace(
                builders.namespace(counters={"TcpExt.ListenOverflows": 2**64 - 1, "Tcp.MaxConn": -1}), sysctls=SYSCTLS
            ),
            replace(
                builders.namespace("blue"),
                sysctls={**SYSCTLS, "net.ipv4.tcp_fin_timeout": "23"},
                lists_bound=False,
                inode=7,
            ),
        ],
        holders={1: [app, worker], 2: [worker], 3: []},
        gaps=[Gap(what="owners", why="2 processes: not looked at", count=2), Gap(what="dump", why="no", fatal=True)],
        udp=[builders.socket(State.CLOSE, "0.0.0.0:53", inode=4, skmem_drops=23.0)],
        mptcp=[builders.socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:40000", inode=3, rtt=5.0)],
        sysctl_files=[
            SysctlSetting(name="net.ipv4.tcp_tw_recycle", value="1", file="/etc/sysctl.conf", line=23),
            SysctlSetting(
                name="net.ipv4.ip_local_port_range", value="1024\t65535", file="/etc/sysctl.d/a.conf", line=1
            ),
        ],
    )


def packed(*looks: Snapshot) -> bytes:
    stream = io.BytesIO()
    write_capture(stream, looks)
    return stream.getvalue()


def put(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "host.capture"
    path.write_bytes(data)
    return path


def replay(path: Path | str) -> list[Snapshot]:
    source = ReplaySource.open(path)
    return [source.look(Asks()) for _ in range(source.looks)]


def refused(path: Path | str) -> str:
    """What is said about a capture that is not read; one printable line that names the file."""
    with pytest.raises(CaptureError) as caught:
        ReplaySource.open(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def content(look: Snapshot) -> dict[str, Any]:
    """Every field down to the bytes of every column, NaN included."""
    columns: dict[str, Any] = {}
    for kind in TABLES:
        table: SocketTable = getattr(look, kind)
        columns |= {f"{kind}.{name}": getattr(table, name) for name in COLUMN_TYPES}
        columns |= {f"{kind}.details.{name}": column for name, column in table.details.items()}
    columns |= {"inodes": look.owners.inodes, "first": look.owners.first}
    rest = {f.name: getattr(look, f.name) for f in fields(look) if f.name not in {*TABLES, "owners"}}
    return {
        **rest,
        "processes": look.owners.processes,
        "others": dict(look.owners.others),
        "columns": {name: (column.dtype, column.tobytes()) for name, column in columns.items()},
    }


def tamper(change: Change) -> bytes:
    """A capture of example() with a changed header or changed columns, and right checksums."""
    header, columns = encode_look(example())
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(header))
    blobs = dict(zip([column["name"] for column in document["columns"]], columns, strict=True))
    change(document, blobs)
    text = msgspec.json.encode(document)
    return pack([struct.pack("<I", len(text)), text, *blobs.values(), struct.pack("<I", 0)])


def pack(parts: Sequence[bytes]) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return MAGIC + b"".join([*map(packer.compress, parts), packer.flush()])


def column(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in document["columns"] if each["name"] == name)
    return found


def set_column(name: str, values: Sequence[int], dtype: type[np.generic]) -> Change:
    """Other values in a column of the example, of the right length and type."""
    planes = np.array(values, dtype).view(np.uint8).reshape(len(values), -1).T.tobytes()
    return lambda _, blobs: blobs.update({name: planes})


def drop_column(name: str) -> Change:
    def change(document: dict[str, Any], blobs: dict[str, bytes]) -> None:
        document["columns"].remove(column(document, name))
        del blobs[name]

    return change


def add_column(name: str, dtype: str, rows: int, data: bytes) -> Change:
    def change(document: dict[str, Any], blobs: dict[str, bytes]) -> None:
        document["columns"].append({"name": name, "dtype": dtype, "rows": rows})
        blobs[name] = data

    return change


texts = strategies.text(max_size=20).map(printable)
counts = strategies.integers(0, 2**63)
limits = {name: int(np.iinfo(dtype).max) for name, dtype in COLUMN_TYPES.items() if issubclass(dtype, np.integer)}
limits |= {"netns": 1, "timer": 4}
columns: dict[str, strategies.SearchStrategy[Any]] = {
    name: strategies.integers(0, limit) for name, limit in limits.items()
}
rows = strategies.fixed_dictionaries(
    columns | {"state": strategies.sampled_from(State)},
    optional={"last_ack_recv": strategies.floats(), "rtt": strategies.floats()},
)
processes = strategies.builds(
    builders.process,
    strategies.integers(1, 2**22),
    texts,
    started=strategies.floats(0, 2e9),
    unit=strategies.none() | texts,
    container=strategies.none() | texts,
    **dict.fromkeys(("command", "user", "unit_manager", "runtime", "pod"), strategies.none() | texts),
    fds=strategies.none() | counts,
    fd_limit=strategies.none() | counts,
)
gaps = strategies.builds(Gap, what=texts, why=texts, count=counts, fatal=strategies.booleans())
namespaces = strategies.builds(
    lambda name, counters, lists_bound: replace(
        builders.namespace(name, counters=counters), lists_bound=lists_bound, initial=lists_bound
    ),
    texts,
    strategies.dictionaries(texts, counts, max_size=3),
    strategies.booleans(),
)
snapshots = strategies.builds(
    lambda rows, namespaces, gaps, holders, monotonic: builders.snapshot(
        *rows, namespaces=namespaces, gaps=gaps, holders=holders, monotonic=monotonic
    ),
    strategies.lists(rows, max_size=5),
    strategies.lists(namespaces, min_size=2, max_size=2),
    strategies.lists(gaps, max_size=2),
    strategies.dictionaries(strategies.integers(1, 2**32 - 1), strategies.lists(processes, max_size=3), max_size=3),
    strategies.floats(0, 1e9),
)


@settings(deadline=None, database=None)
@given(strategies.lists(snapshots, min_size=1, max_size=3))
def test_whatever_was_seen_comes_back_exactly(looks: Sequence[Snapshot]) -> None:
    data = packed(*looks)
    again = capture._read_looks(io.BytesIO(data))  # noqa: SLF001 - without a file, for the sake of speed
    assert [content(look) for look in again] == [content(look) for look in looks]


def test_looks_are_replayed_in_order_and_no_further(tmp_path: Path) -> None:
    first = replace(example(), took=1.5)
    path = put(tmp_path, packed(first, builders.later(first, 23)))
    source = ReplaySource.open(path)
    assert source.looks == 2
    asks = Asks(states=frozenset(State), sysctls=frozenset({"net.ipv4.tcp_fin_timeout"}))
    looks = [source.look(asks), source.look(asks)]
    assert [(look.monotonic, look.took) for look in looks] == [(100_000.0, 1.5), (100_023.0, 1.5)]
    assert content(looks[0]) == content(first)
    assert source.follow_up(looks[0], FollowUp(suspects=looks[0].sockets, autobound=True)) is looks[0]
    with pytest.raises(CaptureError, match=r"host\.capture: the capture has no more than 2 looks$"):
        source.look(asks)


def test_the_first_version_stays_readable(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("update_golden") and not VERSION_1.exists():
        VERSION_1.write_bytes(packed(example()))
    new = example()
    unknown = np.full(len(new.sockets), AUTOBOUND_UNKNOWN, np.uint8)
    old = replace(
        new,
        sockets=replace(new.sockets, autobound=unknown),
        udp=SocketTable.empty(),
        mptcp=SocketTable.empty(),
        sysctl_files=(),
    )
    assert [content(look) for look in replay(VERSION_1)] == [content(old)]


def test_a_table_that_shares_the_details_of_a_larger_one_is_kept(tmp_path: Path) -> None:
    part = replace(example(), sockets=example().sockets.in_state(State.CLOSE_WAIT))
    [again] = replay(put(tmp_path, packed(part)))
    assert again.sockets.detail("rtt").tolist()[1] == 23.0
    assert content(again) == content(part)


def test_the_capture_of_a_large_host_is_small() -> None:
    count = 200_000
    random = np.random.default_rng(23)
    columns: dict[str, Any] = {name: np.zeros(count, dtype) for name, dtype in COLUMN_TYPES.items()}
    columns["state"][:] = random.choice([State.ESTABLISHED, State.TIME_WAIT, State.CLOSE_WAIT], count)
    columns["sport"][:] = random.integers(32768, 61000, count)
    columns["dst_lo"][:] = random.integers(0, 60000, count)
    columns["cookie"][:] = np.cumsum(random.integers(1, 3, count))
    columns["inode"][:] = random.permutation(count)
    columns["expires_ms"][:] = random.integers(0, 60000, count)
    columns["detail_row"][:] = -1
    look = replace(builders.snapshot(), sockets=SocketTable(**columns, details={}))
    assert len(packed(look)) < 3_000_000


def test_a_capture_goes_through_pipes() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sockwatch.collect.capture import *\n"
        "from sockwatch.model.snapshot import Asks\n"
        "write_capture(sys.stdout.buffer, [ReplaySource.open('-').look(Asks())])\n"
    )
    package = str(Path(capture.__file__).parents[2])
    data = packed(example())
    command = [sys.executable, "-c", f"import sys\n{code}", package]
    assert subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout == data


def test_standard_input_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    with pytest.raises(CaptureError, match=r"^standard input: not a capture of sockwatch$"):
        ReplaySource.open("-")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a capture of sockwatch"),
        (b"\x7fELF", "not a capture of sockwatch"),
        (b"x" * 100_000, "not a capture of sockwatch"),
        (b"sockwatch.capture/", "a capture of version ; this release reads 1"),
        (b"sockwatch.capture/2\n", "a capture of version 2; this release reads 1"),
        (b"sockwatch.capture/1\x1b[2J\n", r"a capture of version 1\x1b[2J; this release reads 1"),
        (MAGIC, "the capture is cut off"),
        (MAGIC + b"plain", "Error -3 while decompressing data: incorrect header check"),
        (pack([struct.pack("<I", 0)]), "the capture has no look"),
        (pack([b"\0"]), "the capture ends too early"),
        (packed(example()) + b"\0", "the capture goes on after its end"),
        (packed(example()) + packed(example()), "the capture goes on after its end"),
        (pack([struct.pack("<I", 0), b"\0"]), "the capture goes on after its end"),
        (pack([struct.pack("<I", 2**32 - 1)]), "a header is too long"),
        (pack([struct.pack("<I", 4), b"null"]), "Expected `object`, got `null`"),
        (pack([struct.pack("<I", 4), b"\xff" * 4]), "JSON is malformed: invalid character (byte 0)"),
        (pack([struct.pack("<I", 50_006), b'{"x":' + b"[" * 50_001]), "maximum recursion depth exceeded"),
        (pack([struct.pack("<I", 12), b'{"host":"\xff"}']), "'utf-8' codec can't decode byte 0xff in position 0"),
    ],
)
def test_what_is_no_capture_is_refused_in_one_line(tmp_path: Path, data: bytes, why: str) -> None:
    assert refused(put(tmp_path, data)).startswith(why)


def test_what_follows_a_capture_is_noticed_even_if_it_was_not_read_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed(example())
    monkeypatch.setattr(capture, "_CHUNK", len(data) - len(MAGIC))
    assert refused(put(tmp_path, data + b"more")) == "the capture goes on after its end"


def test_a_capture_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent") == "No such file or directory"
    assert refused(tmp_path) == "Is a directory"
    assert refused("nul\\x00") == "No such file or directory"


def test_a_capture_is_refused_wherever_it_is_cut_off(tmp_path: Path) -> None:
    data = packed(example())
    for length in range(len(data)):
        refused(put(tmp_path, data[:length]))


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    data = packed(example())
    sound = content(example())
    path = tmp_path / "host.capture"
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            [look] = replay(path)
        except CaptureError:
            continue
        assert content(look) == sound


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (drop_column("sockets.sport"), "column sockets.sport is missing"),
        (drop_column("sockets.state"), "column sockets.netns has 4 rows, not 0"),
        (drop_column("owners.first"), "column owners.first is missing"),
        (lambda d, _: column(d, "sockets.sport").update(rows=3), "column sockets.sport has 3 rows, not 4"),
        (lambda d, _: column(d, "sockets.sport").update(rows=2**62), f"column sockets.sport cannot have {2**62} rows"),
        (lambda d, _: column(d, "sockets.sport").update(rows=-1), "column sockets.sport cannot have -1 rows"),
        (lambda d, _: column(d, "sockets.sport").update(rows=2**24), "the capture ends too early"),
        (
            lambda d, _: column(d, "sockets.sport").update(dtype="<i2"),
            "column sockets.sport is of type int16, not uint16",
        ),
        (lambda d, _: column(d, "sockets.sport").update(dtype="O"), "column sockets.sport is of no known type"),
        (lambda d, _: column(d, "sockets.sport").update(dtype="<f1"), "column sockets.sport is of no known type"),
        (lambda d, _: column(d, "sockets.sport").update(dtype="|u4"), "column sockets.sport is of no known type"),
        (lambda d, _: column(d, "details.rtt").update(dtype="<i8"), "column details.rtt is of type int64, not float64"),
        (lambda d, _: column(d, "details.rtt").update(rows=1), "column details.rtt has 1 rows, not 2"),
        (lambda d, _: column(d, "sockets.sport").update(name="\x1b[2J"), "column sockets.sport is missing"),
        (
            lambda d, _: column(d, "sockets.sport").update(name="\x1b[2J", dtype="O"),
            r"column \x1b[2J is of no known type",
        ),
        (lambda d, _: d.pop("time"), "Object missing required field `time`"),
        (lambda d, _: d.update(host=23), "Expected `str`, got `int` - at `$.host`"),
        (lambda d, _: d.update(time=1e300), "its time is impossible"),
        (lambda d, _: d.update(time=-1), "its time is impossible"),
        (lambda d, _: d.update(monotonic=-1), "its time is impossible"),
        (lambda d, _: d["namespaces"][0].update(inode=2**64), "a number does not fit into 64 bits"),
        (lambda d, _: d["namespaces"][0]["counters"].update(x=2**64), "a number does not fit into 64 bits"),
        (lambda d, _: d["gaps"][0].update(count=2**64), "a number does not fit into 64 bits"),
        (lambda d, _: d["processes"][0].update(fds=2**64), "a number does not fit into 64 bits"),
        (lambda d, _: d["namespaces"].pop(), "a socket is in a namespace that is not listed"),
        (lambda d, _: d["processes"].pop(), "a holder is not listed"),
        (lambda d, _: d["others"].update({"1": [-1]}), "a holder is not listed"),
        (set_column("owners.first", [0, 1, -2], np.int32), "a holder is not listed"),
        (set_column("owners.inodes", [2, 1, 3], np.uint32), "the inodes are not sorted"),
        (set_column("owners.inodes", [1, 1, 3], np.uint32), "the inodes are not sorted"),
        (set_column("sockets.state", [10, 8, 8, 12], np.uint8), "a socket is in a state that does not exist"),
        (set_column("sockets.timer", [0, 0, 0, 5], np.uint8), "a socket has a timer that does not exist"),
        (set_column("sockets.detail_row", [-2, 0, 1, -1], np.int32), "a socket's details are not there"),
        (set_column("sockets.detail_row", [-1, 0, 2, -1], np.int32), "a socket's details are not there"),
        (lambda _, b: b.update({"owners.first": b["owners.first"] + b"\0"}), "the capture goes on after its end"),
        (drop_column("udp.sockets.sport"), "column udp.sockets.sport is missing"),
        (set_column("udp.sockets.netns", [2], np.uint16), "a socket is in a namespace that is not listed"),
        (set_column("mptcp.sockets.detail_row", [1], np.int32), "a socket's details are not there"),
        (lambda d, _: d["sysctl_files"][0].update(line=2**64), "a number does not fit into 64 bits"),
        (lambda d, _: d["sysctl_files"][0].update(value=1), "Expected `str`, got `int` - at `$.sysctl_files[0].value`"),
    ],
)
def test_a_look_that_cannot_be_is_refused_in_one_line(tmp_path: Path, change: Change, why: str) -> None:
    assert refused(put(tmp_path, tamper(change))).startswith(why)


def test_columns_and_fields_of_a_later_release_are_ignored(tmp_path: Path) -> None:
    for change in (
        add_column("sockets.mark", "<u4", 4, bytes(16)),
        add_column("flows.bytes", "<u8", 2, bytes(16)),
        lambda document, _: document.update(future={"x": [1, None]}),
        lambda document, _: document["processes"][0].update(future=1),
    ):
        assert [content(look) for look in replay(put(tmp_path, tamper(change)))] == [content(example())]


def test_a_detail_column_may_be_missing(tmp_path: Path) -> None:
    [look] = replay(put(tmp_path, tamper(drop_column("details.rtt"))))
    assert np.isnan(look.sockets.detail("rtt")).all()
    assert look.sockets.detail("last_ack_recv")[1] == 2000.5


def test_names_in_a_capture_are_made_printable(tmp_path: Path) -> None:
    def change(document: dict[str, Any], _: object) -> None:
        document["host"] = "web\x1b[2J"
        document["processes"][0].update(name="a\nb", unit="\u202e.service", container="\x07")
        document["processes"][0].update(command="a\x1b[2J", user="\n", unit_manager="\n", runtime="\n", pod="\n")
        document["cgroups"] = {"7": {"unit": "\x07", "container": "\x07", "processes": [0]}}
        document["namespaces"][1].update(name="\x9b", sysctls={"a\n": "1\t2\x1b"}, counters={"b\n": 1})
        document["gaps"][0].update(what="\n", why="\u2028")
        document["sysctl_files"][1].update(name="\n", value="1\t2\x1b", file="\x9b")

    [look] = replay(put(tmp_path, tamper(change)))
    assert look.host == r"web\x1b[2J"
    app = look.owners.processes[0]
    assert (app.name, app.unit, app.container) == (r"a\nb", r"\u202e.service", r"\x07")
    assert (app.command, app.user, app.unit_manager, app.runtime, app.pod) == (r"a\x1b[2J", *[r"\n"] * 4)
    assert look.owners.cgroups == {7: Cgroup(unit=r"\x07", container=r"\x07", processes=(0,))}
    assert look.namespaces[1].name == r"\x9b"
    assert look.namespaces[1].sysctls == {r"a\n": "1\t2\\x1b"}
    assert look.namespaces[1].counters == {r"b\n": 1}
    assert (look.gaps[0].what, look.gaps[0].why) == (r"\n", r"\u2028")
    assert look.sysctl_files[1] == SysctlSetting(name=r"\n", value="1\t2\\x1b", file=r"\x9b", line=1)


def test_a_bomb_takes_no_more_memory_than_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_BYTES", 1 << 20)
    bomb = add_column("sockets.bomb", "<u8", 1 << 24, bytes(1 << 27))
    path = put(tmp_path, tamper(bomb))
    assert path.stat().st_size < 1 << 18
    tracemalloc.start()
    assert refused(path) == "the capture unpacks to more than 1 MiB"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_claim_of_many_rows_takes_only_the_memory_of_what_is_there(tmp_path: Path) -> None:
    path = put(tmp_path, tamper(lambda d, _: column(d, "sockets.cookie").update(rows=1 << 24)))
    tracemalloc.start()
    assert refused(path) == "the capture ends too early"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_saved_capture_is_for_its_owner_only_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "host.capture"
    old = os.umask(0)
    try:
        save_capture(path, [example()])
        path.chmod(0o644)
        save_capture(path, [example(), example()])
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ReplaySource.open(path).looks == 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_capture_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    path = put(tmp_path, b"older")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"host\.capture: File too large$"):
            save_capture(path, [example()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    target = put(tmp_path, b"precious")
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(target)
    os.mkfifo(fifo)
    for path in (link, fifo, tmp_path, Path("/dev/null")):
        with pytest.raises(UsageError, match="exists and is no regular file"):
            save_capture(path, [example()])
    assert target.read_bytes() == b"precious"
    assert link.is_symlink()
    assert Path("/dev/null").is_char_device()
    assert sorted(tmp_path.iterdir()) == [fifo, target, link]


@pytest.mark.parametrize(
    ("name", "why"),
    [("absent/host", "No such file or directory"), ("x" * 300, "File name too long"), ("\0", "embedded")],
)
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        save_capture(tmp_path / name, [example()])
    assert str(caught.value).isprintable()


def test_unknown_holders_stay_unknown(tmp_path: Path) -> None:
    [look] = replay(put(tmp_path, packed(example())))
    assert look.owners.first.tolist() == [0, 1, UNKNOWN]
