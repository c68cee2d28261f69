"""What the cgroup of a process or a socket tells: systemd unit, container, its runtime, Kubernetes pod.

`docs/owners.md` has the path shapes. A process that was given a cgroup of its own (a container, a user's service
manager) names what is below it as it likes: what is told here is what the path says, and no proof.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Cgroup

ROOT_ID = 1
"""The id of the root of version 2, in which everything is where only version 1 is used."""
_SHOWN = 12
"""What the container tools themselves show of an id."""
_LONGEST_NAME = 255
"""NAME_MAX"""
_MOST_CGROUPS = 1 << 16

_UNITS = (".service", ".scope")
_SLICE = ".slice"
_USER_MANAGER = re.compile(r"user@[0-9]+\.service")

_CONTAINER = re.compile(r"(?:(?P<prefix>.+)[-:])?(?P<id>[0-9a-f]{64})(?:\.scope)?")
"""A part of a path that names a container: its id, alone or after what its runtime puts before it."""
_MONITORS = ("libpod-conmon", "crio-conmon")
"""What watches over a container from outside of it."""
_BY_PREFIX = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",  # podman run --cgroups=split
    "crio": "cri-o",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
}
_BY_PARENT = {"docker": "docker", "default": "containerd", "ecs": "docker"}
"""The folder of a bare id; `default` is the namespace that nerdctl and ctr use."""
_LXC = re.compile(r"lxc\.payload\.(?P<name>.+)")
_POD = re.compile(r"(?:^|-)pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=\.slice|:|$)")
"""`pod` and its uid, with `_` for `-` in the name of a slice; 32 digits for the pods of a node's own files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """A path in its parts, and what the last of them that says something says."""

    parts: tuple[str, ...]

    def unit(self) -> tuple[str, str | None] | None:
        """The innermost service or scope, else slice, and the user's service manager above it."""
        for suffixes in (_UNITS, (_SLICE,)):
            for at in reversed(range(len(self.parts))):
                # systemd puts `_` before a name that a file of the kernel could have (cg_escape, basic/cgroup-util.c).
                name = self.parts[at].removeprefix("_")
                if name.endswith(suffixes):
                    above = (part for part in reversed(self.parts[:at]) if _USER_MANAGER.fullmatch(part))
                    return name, next(above, None)
        return None

    def container(self) -> tuple[str, str | None] | None:
        """The innermost container and its runtime, None where the path does not tell which."""
        for at in reversed(range(len(self.parts))):
            part, parent = self.parts[at], self.parts[at - 1] if at else ""
            if lxc := _LXC.fullmatch(part):
                return lxc["name"], "lxc"
            if parent == "lxc":
                return part, "lxc"
            found = _CONTAINER.fullmatch(part)
            prefix = ((found["prefix"] or "") if found else "").rpartition(":")[2]
            if found and prefix not in _MONITORS:
                runtime = _BY_PREFIX.get(prefix) if prefix else _BY_PARENT.get(parent) or _BY_PARENT.get(self.parts[0])
                return found["id"][:_SHOWN], runtime
        return None

    def pod(self) -> str | None:
        """The uid of the innermost pod, as Kubernetes writes it."""
        found = [match["uid"] for part in self.parts if (match := _POD.search(part))]
        return found[-1].replace("_", "-") if found else None


@lru_cache(maxsize=128)
def parse_cgroup(text: str) -> Cgroup:
    """What /proc/PID/cgroup tells, None for what it does not; all from one hierarchy, as each has a tree of its own.

    It is the first that tells a container, else a unit: version 2, then systemd's own of version 1, then the others.
    """
    paths = [_split(path) for path in _order_paths(text)]
    told = next(
        chain((path for path in paths if path.container()), (path for path in paths if path.unit()), paths),
        _Path(parts=()),
    )
    unit = told.unit() or (None, None)
    container = told.container() or (None, None)
    return Cgroup(
        unit=_clean(unit[0]),
        unit_manager=unit[1],
        container=_clean(container[0]),
        runtime=container[1],
        pod=told.pod(),
    )


def _order_paths(text: str) -> Sequence[str]:
    """The paths of `ID:CONTROLLERS:PATH`."""
    rank = {"": 0, "name=systemd": 1}
    # The kernel refuses a newline in a name, and nothing else that splitlines() takes for the end of a line.
    lines = [line.split(":", 2) for line in text.split("\n") if line.count(":") > 1]
    lines.sort(key=lambda line: rank.get(line[1], 2))
    # cgroup2 marks the group of a process that outlived it (kernel/cgroup/cgroup.c, proc_cgroup_show).
    return [path.removesuffix(" (deleted)") for _, _, path in lines]


def _split(path: str) -> _Path:
    return _Path(parts=tuple(part for part in path.split("/") if part))


def _clean(name: str | None) -> str | None:
    return None if name is None else printable(name)[:_LONGEST_NAME]


class CgroupTree:
    """The cgroups of version 2 by their ids, which the kernel gives for sockets (INET_DIAG_CGROUP_ID, v5.8).

    The id is the inode of the cgroup's folder. It is where socket() was called, or where the listener was opened for an
    accepted socket, and stays when the process moves or ends.
    """

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._paths: dict[int, Path] = {}
        self.mount: Path | None = None
        """Where the tree is mounted; None where it is not."""
        self.whole = False
        """Whether all of it is seen: in a cgroup namespace the mount shows a part, and the rest is not gone."""

    def refresh(self) -> None:
        """Read the tree anew: some 3 us a cgroup."""
        self._paths = {}
        self.mount = _mounted_at(self._proc)
        self.whole = False
        if self.mount is None:
            return
        try:
            root = self.mount.stat().st_ino
        except OSError:
            return
        self._paths[root] = self.mount
        self.whole = root == ROOT_ID
        for number, path in _descend(self.mount):
            self._paths[number] = path
            if len(self._paths) >= _MOST_CGROUPS:
                self.whole = False
                return

    def knows(self, number: int) -> bool:
        """Whether there was such a cgroup at the last refresh()."""
        return number in self._paths

    def describe(self, number: int) -> Cgroup | None:
        """What the cgroup of this id is; one that was removed is `gone`, one that cannot be seen is None."""
        path = self._paths.get(number)
        if path is None or self.mount is None:
            return Cgroup(gone=True) if self.whole else None
        return parse_cgroup(f"0::/{os.fsencode(path.relative_to(self.mount)).decode('utf-8', 'backslashreplace')}")

    def pids(self, number: int) -> tuple[int, ...]:
        """The processes that are in it now, as this PID namespace numbers them."""
        path = self._paths.get(number)
        if path is None:
            return ()
        try:
            text = (path / "cgroup.procs").read_bytes()
        except OSError:  # removed meanwhile, or a threaded cgroup
            return ()
        return tuple(pid for word in text.split() if (pid := int(word)))


def _mounted_at(proc: Path) -> Path | None:
    """Where cgroup2 is mounted; its own root, not a part of it."""
    try:
        lines = (proc / "self" / "mountinfo").read_bytes().split(b"\n")
    except OSError:
        return None
    for line in lines:
        mount, _, source = line.partition(b" - ")
        fields = mount.split()
        if source.startswith(b"cgroup2 ") and fields[3] == b"/":
            # A space, a tab, a newline and a backslash are octal (show_mountinfo, fs/proc_namespace.c).
            path = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), fields[4])
            return Path(os.fsdecode(path))
    return None


def _descend(folder: Path) -> Iterator[tuple[int, Path]]:
    """Every cgroup below this one, with its id."""
    left = [folder]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                below = [(entry.inode(), Path(entry.path)) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:  # removed meanwhile
            continue
        yield from below
        left += (path for _, path in below)
