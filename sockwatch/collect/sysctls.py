"""The sysctls that detectors ask for, from /proc/sys."""

from collections.abc import Collection
from pathlib import Path

from sockwatch.model.snapshot import Gap


def read_sysctls(names: Collection[str], proc: Path) -> tuple[dict[str, str], tuple[Gap, ...]]:
    """`{"net.ipv4.tcp_fin_timeout": "60", ...}` in the calling thread's namespace, and what could not be read.

    /proc/sys/net follows the thread that opens it. Values are without the final newline; where one has several
    parts, they stay apart as the kernel writes them (a tab). A sysctl that this kernel or namespace does not have
    is absent; where there are none at all (another file system over /proc/sys), that is a gap.
    """
    values: dict[str, str] = {}
    gaps: list[Gap] = []
    if names and not (proc / "sys" / "net").is_dir():
        why = f"{proc / 'sys' / 'net'} is not there: what depends on a sysctl is not judged"
        return values, (Gap(what="sysctls", why=why),)
    for name in sorted(names):
        try:
            content = (proc / "sys" / name.replace(".", "/")).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            gaps.append(Gap(what=name, why=error.strerror or str(error)))
        else:
            values[name] = content.decode("utf-8", "backslashreplace").strip()
    return values, tuple(gaps)
