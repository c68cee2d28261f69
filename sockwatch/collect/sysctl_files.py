"""What the host sets at boot: the files of sysctl.d(5). People write them, and anything may be in them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Gap, SysctlSetting

FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")
"""The first that has a file of some name hides those of the same name in the others."""
LAST = "etc/sysctl.conf"
"""Applied after all of them (sysctl --system); systemd only reads it where a link in sysctl.d leads to it."""
MAX_BYTES = 1 << 18
"""Of one file."""
MAX_FILES = 500
MAX_TEXT = 500
"""Characters of a name or a value."""
_PREFIX = "net."
_PER_INTERFACE = frozenset({"conf", "neigh"})
"""Of net.ipv4 and net.ipv6: they hold for one interface each, and none is about sockets."""
_NULL = os.makedev(1, 3)
_GLOB = frozenset("*?[")


def read_sysctl_files(root: Path) -> tuple[tuple[SysctlSetting, ...], tuple[Gap, ...]]:
    """Of each `net.` sysctl the setting that wins, sorted by name, and what could not be read.

    Settings of single interfaces are left out. A sysctl here need not exist in this kernel.
    """
    settings: dict[str, SysctlSetting] = {}
    gaps: list[Gap] = []
    for path in _files(root, gaps):
        shown = printable(f"/{path.relative_to(root)}")
        try:
            text = _read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            gaps.append(_gap(shown, error.strerror or str(error)))
            continue
        except ValueError as error:
            gaps.append(_gap(shown, str(error)))
            continue
        settings |= {setting.name: setting for setting in _parse(text, shown)}
    return tuple(settings[name] for name in sorted(settings)), tuple(gaps)


def _files(root: Path, gaps: list[Gap]) -> Iterator[Path]:
    """The files that count, in the order in which they are applied."""
    chosen: dict[str, Path] = {}
    for folder in FOLDERS:
        try:
            names = sorted(entry.name for entry in os.scandir(root / folder) if entry.name.endswith(".conf"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            gaps.append(_gap(f"/{folder}", error.strerror or str(error)))
            continue
        for name in names:
            chosen.setdefault(name, root / folder / name)
    if len(chosen) > MAX_FILES:
        gaps.append(_gap("/etc/sysctl.d", f"more than {MAX_FILES} files"))
    yield from (chosen[name] for name in sorted(chosen)[:MAX_FILES])
    yield root / LAST


def _read(path: Path) -> str:
    """The content of a regular file; /dev/null, to which a link hides a file, counts as empty. Raises ValueError."""
    # A FIFO would wait for a writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK), "rb") as stream:
        status = os.fstat(stream.fileno())
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL:
            return ""
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("no regular file")
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 10} KiB")
    return content.decode("utf-8", "backslashreplace")


def _parse(text: str, file: str) -> Iterator[SysctlSetting]:
    for number, line in enumerate(text.split("\n"), start=1):
        key, equals, value = line.partition("=")
        name = _dotted(key.strip().removeprefix("-").strip())
        if not equals or line.lstrip().startswith(("#", ";")) or not _is_wanted(name):
            continue
        parts = (printable(part) for part in value.split())
        yield SysctlSetting(name=printable(name), value=" ".join(parts)[:MAX_TEXT], file=file, line=number)


def _dotted(key: str) -> str:
    """The name in dots: where the first separator is a slash, slashes separate and dots are part of the names."""
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and not 0 <= dot < slash:
        return key.translate(str.maketrans("/.", "./"))
    return key


def _is_wanted(name: str) -> bool:
    parts = name.split(".")
    return (
        name.startswith(_PREFIX)
        and len(name) <= MAX_TEXT
        and not {*parts[2:3]} & _PER_INTERFACE
        and not _GLOB & {*name}
    )


def _gap(file: str, why: str) -> Gap:
    return Gap(what="sysctl files", why=f"{file}: {why}")
