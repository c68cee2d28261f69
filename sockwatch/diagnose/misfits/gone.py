"""Settings that sysctl files still carry and the kernel no longer has."""

from collections.abc import Iterator, Mapping

from sockwatch.diagnose.misfits.misfit import Host, Misfit, last_part
from sockwatch.model.finding import Effect
from sockwatch.model.sockets import SocketTable

_OLD_NAME = "an old name that new kernels no longer know; today it is net.netfilter."

GONE: Mapping[str, str] = {
    "net.ipv4.ip_conntrack_max": f"{_OLD_NAME}nf_conntrack_max",
    "net.ipv4.netfilter.ip_conntrack_max": f"{_OLD_NAME}nf_conntrack_max",
    "net.ipv4.netfilter.ip_conntrack_tcp_timeout_established": f"{_OLD_NAME}nf_conntrack_tcp_timeout_established",
    "net.ipv4.tcp_thin_dupack": "removed in Linux 4.11 (4a7f60094411): newer ways to detect loss do without it",
    "net.ipv4.tcp_tw_recycle": "removed in Linux 4.12 (4396e46187ca), because it dropped clients behind NAT; nothing "
    "replaces it and nothing needs to",
}
"""Sysctls that were removed, and why."""


def gone(host: Host) -> Iterator[Misfit]:
    """Named in a sysctl file, absent from /proc/sys. The files are those of the initial namespace."""
    if not host.namespace.initial:
        return
    for setting in host.window.current.sysctl_files:
        if setting.name in GONE and setting.name not in host.namespace.sysctls:
            yield Misfit(
                values={setting.name: setting.value},
                effect=Effect.NONE,
                summary=f"{last_part(setting.name)} in {setting.file}, line {setting.line}, is gone",
                why=GONE[setting.name],
                remedy=f"Remove the line from {setting.file}.",
                sockets=SocketTable.empty(),
            )
