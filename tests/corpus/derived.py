"""Captures of limits of the whole host, out of reach of a private namespace: a recorded one with other numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sockwatch.model.snapshot import Namespace, Snapshot

BASE = "nginx_idle"
"""The capture that the numbers are put into."""
EASE: Mapping[str, str] = {
    "net.ipv4.tcp_max_orphans": "131072",
    "net.ipv4.tcp_mem": "287901\t383869\t575802",
    "net.netfilter.nf_conntrack_count": "2003",
    "net.netfilter.nf_conntrack_max": "262144",
}
"""A host with 6 GB of memory; the counters below are far from these limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What the initial namespace says in place of what was recorded."""

    counters: Mapping[str, int] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)

    def of(self, look: Snapshot) -> Snapshot:
        """The look with these numbers."""
        (namespace,) = look.namespaces
        return replace(look, namespaces=(self._initial(namespace),))

    def _initial(self, namespace: Namespace) -> Namespace:
        at_ease = {"sockstat.TCP.orphan": 3, "sockstat.TCP.mem": 2003}
        return replace(
            namespace,
            name="host",
            initial=True,
            counters={**namespace.counters, **at_ease, **self.counters},
            sysctls={**namespace.sysctls, **EASE, **self.sysctls},
        )


DERIVED: Mapping[str, Derived] = {
    "host_at_ease": Derived(),
    "host_orphans": Derived(counters={"sockstat.TCP.orphan": 100_003}),
    "host_memory_pressure": Derived(counters={"sockstat.TCP.mem": 400_009}),
    "host_memory_exhausted": Derived(counters={"sockstat.TCP.mem": 575_809}),
    "host_conntrack_filling": Derived(sysctls={"net.netfilter.nf_conntrack_count": "230003"}),
    "host_conntrack_full": Derived(sysctls={"net.netfilter.nf_conntrack_count": "262144"}),
}
