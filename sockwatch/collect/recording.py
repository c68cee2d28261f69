"""One look as a JSON header and columns, and back. What comes back is checked: a capture may come from anybody."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.printable import printable
from sockwatch.model.snapshot import UNKNOWN, Cgroup, Gap, Namespace, Owners, Process, Snapshot, SysctlSetting
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, COLUMN_TYPES, NO_DETAIL, SocketTable
from sockwatch.model.state import State, Timer

MAX_ROWS = 1 << 24
_DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"})
_INODES, _FIRST = "owners.inodes", "owners.first"
_TABLES = {"sockets": "", "udp": "udp.", "mptcp": "mptcp."}
"""The tables of a Snapshot, and what the names of their columns begin with."""
_SOCKETS, _DETAILS = "sockets.", "details."
_ADDED = {"autobound": AUTOBOUND_UNKNOWN}
"""Columns that older captures lack, with what stands for it."""
_LAST_YEAR = 253_402_300_799.0
"""The end of 9999 in seconds since 1970: what a date can still show."""
_WORD = 1 << 64

Column = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnHeader:
    """One column: its type as numpy writes it (`<u4`) and its length."""

    name: str
    dtype: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Everything of a Snapshot that is no column."""

    time: float
    monotonic: float
    took: float = 0.0
    host: str
    kernel: str
    namespaces: tuple[Namespace, ...]
    gaps: tuple[Gap, ...] = ()
    processes: tuple[Process, ...] = ()
    others: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    cgroups: Mapping[int, Cgroup] = field(default_factory=dict)
    sysctl_files: tuple[SysctlSetting, ...] = ()
    columns: tuple[ColumnHeader, ...]


def encode_look(look: Snapshot) -> tuple[Header, Iterator[bytes]]:
    """The header of a look, and its columns in the order of the header."""
    columns: dict[str, Column] = {}
    for attribute, prefix in _TABLES.items():
        table: SocketTable = getattr(look, attribute)
        if len(table) or not prefix:
            columns |= {f"{prefix}{_SOCKETS}{name}": getattr(table, name) for name in COLUMN_TYPES}
            columns |= {f"{prefix}{_DETAILS}{name}": column for name, column in table.details.items()}
    columns |= {_INODES: look.owners.inodes, _FIRST: look.owners.first}
    columns = {name: column.astype(column.dtype.newbyteorder("<"), copy=False) for name, column in columns.items()}
    header = Header(
        time=look.time,
        monotonic=look.monotonic,
        took=look.took,
        host=look.host,
        kernel=look.kernel,
        namespaces=look.namespaces,
        gaps=look.gaps,
        processes=look.owners.processes,
        others=look.owners.others,
        cgroups=look.owners.cgroups,
        sysctl_files=look.sysctl_files,
        columns=tuple(
            ColumnHeader(name=name, dtype=column.dtype.str, rows=len(column)) for name, column in columns.items()
        ),
    )
    return header, (_transpose(column) for column in columns.values())


def decode_look(header: Header, read: Callable[[int], bytes]) -> Snapshot:
    """The look again; `read` gives so many bytes. Raises ValueError with one line for what no look can be."""
    columns = {column.name: _read_column(column, read) for column in header.columns}
    _check_header(header)
    namespaces = tuple(_clean_namespace(namespace) for namespace in header.namespaces)
    processes = tuple(_clean_process(process) for process in header.processes)
    return Snapshot(
        time=header.time,
        monotonic=header.monotonic,
        took=header.took,
        cpu_elsewhere=0.0,
        host=printable(header.host),
        kernel=printable(header.kernel),
        namespaces=namespaces,
        **{attribute: _decode_table(columns, prefix, len(namespaces)) for attribute, prefix in _TABLES.items()},
        owners=_decode_owners(columns, processes, header),
        gaps=tuple(replace(gap, what=printable(gap.what), why=printable(gap.why)) for gap in header.gaps),
        sysctl_files=tuple(_clean_setting(setting) for setting in header.sysctl_files),
    )


def _transpose(column: Column) -> bytes:
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.itemsize).T.tobytes()


def _read_column(header: ColumnHeader, read: Callable[[int], bytes]) -> Column:
    if header.dtype not in _DTYPES:
        raise ValueError(f"column {header.name} is of no known type")
    if not 0 <= header.rows <= MAX_ROWS:
        raise ValueError(f"column {header.name} cannot have {header.rows} rows")
    dtype = np.dtype(header.dtype)
    planes = np.frombuffer(read(header.rows * dtype.itemsize), np.uint8).reshape(dtype.itemsize, header.rows)
    column: Column = np.ascontiguousarray(planes.T).view(dtype).reshape(header.rows)
    return column.astype(dtype.newbyteorder("="), copy=False)


def _column(columns: Mapping[str, Column], name: str, dtype: type[np.generic], rows: int | None) -> Column:
    column = columns.get(name)
    if column is None:
        raise ValueError(f"column {name} is missing")
    if column.dtype != dtype:
        raise ValueError(f"column {name} is of type {column.dtype}, not {np.dtype(dtype)}")
    if rows is not None and len(column) != rows:
        raise ValueError(f"column {name} has {len(column)} rows, not {rows}")
    return column


def _decode_table(columns: Mapping[str, Column], prefix: str, namespaces: int) -> SocketTable:
    sockets, detailed = f"{prefix}{_SOCKETS}", f"{prefix}{_DETAILS}"
    if prefix and not any(name.startswith(prefix) for name in columns):
        return SocketTable.empty()
    rows = len(columns.get(f"{sockets}state", ()))
    added = {f"{sockets}{name}": np.full(rows, value, COLUMN_TYPES[name]) for name, value in _ADDED.items()}
    columns = {**added, **columns}
    base = {name: _column(columns, f"{sockets}{name}", dtype, rows) for name, dtype in COLUMN_TYPES.items()}
    names = [name for name in columns if name.startswith(detailed)]
    detail_rows = len(columns[names[0]]) if names else 0
    details = {name.removeprefix(detailed): _column(columns, name, np.float64, detail_rows) for name in names}
    if not np.isin(base["state"], list(State)).all():
        raise ValueError("a socket is in a state that does not exist")
    if (base["timer"] > max(Timer)).any():
        raise ValueError("a socket has a timer that does not exist")
    if (base["netns"] >= namespaces).any():
        raise ValueError("a socket is in a namespace that is not listed")
    if _outside(base["detail_row"], NO_DETAIL, detail_rows):
        raise ValueError("a socket's details are not there")
    return SocketTable(**base, details=details)


def _decode_owners(columns: Mapping[str, Column], processes: Sequence[Process], header: Header) -> Owners:
    inodes = _column(columns, _INODES, np.uint32, None)
    first = _column(columns, _FIRST, np.int32, len(inodes))
    if not (inodes[1:] > inodes[:-1]).all():
        raise ValueError("the inodes are not sorted")
    known = range(len(processes))
    if _outside(first, UNKNOWN, len(processes)) or any(i not in known for held in header.others.values() for i in held):
        raise ValueError("a holder is not listed")
    return Owners(
        processes=tuple(processes),
        inodes=inodes,
        first=first,
        others={inode: tuple(held) for inode, held in header.others.items()},
        cgroups={number: _clean_cgroup(cgroup, len(processes)) for number, cgroup in header.cgroups.items()},
    )


def _outside(column: Column, low: int, end: int) -> bool:
    return bool(((column < low) | (column >= end)).any())


def _check_header(header: Header) -> None:
    if not all(0 <= seconds <= _LAST_YEAR for seconds in (header.time, header.monotonic, header.took)):
        raise ValueError("its time is impossible")
    numbers = [gap.count for gap in header.gaps] + [setting.line for setting in header.sysctl_files]
    for namespace in header.namespaces:
        numbers += [namespace.inode, namespace.cookie, *namespace.counters.values()]
    for process in header.processes:
        numbers += [process.pid, process.fds or 0, process.fd_limit or 0]
    if any(not -_WORD < number < _WORD for number in numbers):
        raise ValueError("a number does not fit into 64 bits")


def _clean_value(value: str) -> str:
    """The parts of a sysctl's value stay apart as the kernel writes them."""
    return "\t".join(printable(part) for part in value.split("\t"))


def _clean_setting(setting: SysctlSetting) -> SysctlSetting:
    return replace(
        setting, name=printable(setting.name), value=_clean_value(setting.value), file=printable(setting.file)
    )


def _clean_namespace(namespace: Namespace) -> Namespace:
    sysctls = {printable(name): _clean_value(value) for name, value in namespace.sysctls.items()}
    counters = {printable(name): value for name, value in namespace.counters.items()}
    return replace(namespace, name=printable(namespace.name), counters=counters, sysctls=sysctls)


def _clean_process(process: Process) -> Process:
    return replace(
        process,
        name=printable(process.name),
        command=_clean_name(process.command),
        user=_clean_name(process.user),
        unit=_clean_name(process.unit),
        unit_manager=_clean_name(process.unit_manager),
        container=_clean_name(process.container),
        runtime=_clean_name(process.runtime),
        pod=_clean_name(process.pod),
    )


def _clean_cgroup(cgroup: Cgroup, processes: int) -> Cgroup:
    if any(index not in range(processes) for index in cgroup.processes):
        raise ValueError("a process of a cgroup is not listed")
    return replace(
        cgroup,
        unit=_clean_name(cgroup.unit),
        unit_manager=_clean_name(cgroup.unit_manager),
        container=_clean_name(cgroup.container),
        runtime=_clean_name(cgroup.runtime),
        pod=_clean_name(cgroup.pod),
    )


def _clean_name(name: str | None) -> str | None:
    return None if name is None else printable(name)
