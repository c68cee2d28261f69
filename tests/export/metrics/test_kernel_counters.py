from dataclasses import replace
from pathlib import Path

import pytest

from builders import namespace, snapshot
from export.metrics.pages import every_counter, families, namespaces, page, series, value
from sockwatch.collect.counters import read_counters
from sockwatch.export.metrics.kernel_counters import COUNTERS

SINCE = {"TcpExt.BeyondWindow", "TcpExt.PAWSTimewait"}
"""What not every kernel has that sockwatch runs on."""


def test_this_kernel_has_every_counter() -> None:
    counters, gaps = read_counters(Path("/proc"))
    assert gaps == ()
    assert COUNTERS.keys() - counters.keys() <= SINCE


@pytest.mark.parametrize("key", COUNTERS)
def test_a_counter_is_told_for_each_namespace_that_has_it(key: str) -> None:
    inside = replace(namespace("web", counters={key: 23}), inode=2, initial=False)
    exposition = page(snapshot(namespaces=[namespace(counters={key: 7}), inside, *namespaces(2)[1:]]))
    name = COUNTERS[key].name
    assert series(exposition, name) == {(("netns", "host"),): 7, (("netns", "web"),): 23}
    assert families(exposition)[name.removesuffix("_total")].type == "counter"


def test_a_counter_that_the_kernel_lacks_is_absent() -> None:
    found = families(page(snapshot(namespaces=[namespace(counters={})])))
    assert not {family.name.removesuffix("_total") for family in COUNTERS.values()} & found.keys()


def test_counters_of_folded_namespaces_are_left_out_because_a_sum_would_fall() -> None:
    every = [replace(n, counters={"Tcp.OutRsts": 5}) for n in namespaces(5)]
    found = series(page(snapshot(namespaces=every), namespaces=2), "sockwatch_tcp_sent_resets_total")
    assert found == {(("netns", "host"),): 5, (("netns", "n001"),): 5}


def test_names_are_counters_in_words() -> None:
    assert len({family.name for family in COUNTERS.values()}) == len(COUNTERS)
    for key, family in COUNTERS.items():
        assert family.name.startswith(f"sockwatch_{key[:3].lower()}_")
        assert family.name.endswith("_total")
        assert key.partition(".")[2] in family.source


def test_what_counts_the_whole_host_is_told_once() -> None:
    host = namespace(counters=every_counter(), tcp_max_orphans="131072", tcp_mem="1 2 300")
    inside = replace(namespace("web", counters=every_counter()), inode=2, initial=False)
    exposition = page(snapshot(namespaces=[inside, host]))
    assert series(exposition, "sockwatch_tcp_orphans") == {(): 3}
    assert series(exposition, "sockwatch_tcp_orphans_limit") == {(): 131072}
    assert series(exposition, "sockwatch_tcp_sockets_allocated") == {(): 29}
    assert value(exposition, "sockwatch_tcp_memory_limit_bytes") == 150 * (
        value(exposition, "sockwatch_tcp_memory_bytes") or 0
    )


@pytest.mark.parametrize("tcp_mem", ["", "1 2", "1 2 x", "1 2 -3"])
def test_a_limit_that_is_no_number_is_absent(tcp_mem: str) -> None:
    exposition = page(snapshot(namespaces=[namespace(tcp_mem=tcp_mem, tcp_max_tw_buckets="many")]))
    assert "sockwatch_tcp_memory_limit_bytes" not in families(exposition)
    assert "sockwatch_tcp_time_wait_limit" not in families(exposition)
    assert "sockwatch_tcp_orphans" not in families(exposition)
