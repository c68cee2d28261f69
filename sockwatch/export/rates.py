"""What the kernel's counters say happened a second, between two reports."""

from collections.abc import Iterable, Mapping

from sockwatch.model.report import Report


def rates(now: Report, before: Report, counters: Iterable[str]) -> Mapping[str, float]:
    """Events a second over all namespaces that both reports know; a counter that neither has is not there."""
    passed = now.time - before.time
    if passed <= 0:
        return {}
    then = {(n.namespace.name, n.namespace.inode): n.namespace.counters for n in before.namespaces}
    found: dict[str, float] = {}
    for counts in now.namespaces:
        earlier = then.get((counts.namespace.name, counts.namespace.inode), {})
        for counter in counters:
            value = counts.namespace.counters.get(counter)
            if value is not None and counter in earlier and value >= earlier[counter]:
                found[counter] = found.get(counter, 0.0) + (value - earlier[counter]) / passed
    return found
