from dataclasses import replace
from typing import Any

from builders import snapshot
from export.metrics.pages import Series, namespaces, page, series, total, value
from reports import report
from sockwatch.export.metrics.exposition import Exposition
from sockwatch.export.metrics.labels import OTHER
from sockwatch.model.report import BudgetUse, PeerCount
from sockwatch.model.state import State

RATIO, LEFT = "sockwatch_port_budget_used_ratio", "sockwatch_port_budget_left_seconds"
PEERS = "sockwatch_peer_sockets"


def budget(used: int, **fields: Any) -> BudgetUse:
    told: dict[str, Any] = {
        "netns": "host",
        "source": "10.0.0.1",
        "destination": f"10.0.0.9:{used}",
        "usable": 100,
    } | fields
    return BudgetUse(used=used, **told)


def peer(count: int, **fields: Any) -> PeerCount:
    told: dict[str, Any] = {
        "netns": "host",
        "local": "10.0.0.1:80",
        "peer": f"10.0.0.{count}:*",
        "state": State.CLOSE_WAIT,
    } | fields
    return PeerCount(count=count, **told)


def told(*, budgets: tuple[BudgetUse, ...] = (), peers: tuple[PeerCount, ...] = (), **settings: int) -> Exposition:
    look = snapshot(namespaces=namespaces(3))
    return page(look, replace(report(), budgets=budgets, peers=peers), **settings)


def by(label: str, found: Series) -> dict[str, float]:
    return {dict(labels)[label]: number for labels, number in found.items() if number}


def test_a_budget_has_its_used_share_and_what_is_left_where_an_end_is_in_sight() -> None:
    exposition = told(budgets=(budget(73, seconds_left=240.5), budget(20), budget(0, usable=0)))
    assert by("destination", series(exposition, RATIO)) == {"10.0.0.9:73": 0.73, "10.0.0.9:20": 0.2}
    assert value(exposition, RATIO, netns="host", source="10.0.0.1", destination="10.0.0.9:0") == 0
    assert by("destination", series(exposition, LEFT)) == {"10.0.0.9:73": 240.5}


def test_of_folded_budgets_the_worst_counts() -> None:
    budgets = (
        budget(90),
        budget(80, seconds_left=900.0),
        budget(70, seconds_left=300.0),
        budget(60, seconds_left=600.0),
    )
    exposition = told(budgets=budgets, top=1)
    assert by("destination", series(exposition, RATIO)) == {"10.0.0.9:90": 0.9, OTHER: 0.8}
    assert by("destination", series(exposition, LEFT)) == {OTHER: 300.0}
    assert value(exposition, "sockwatch_series_folded", metric=RATIO) == 3


def test_budgets_and_peers_of_folded_namespaces_are_other_and_so_are_those_of_unknown_ones() -> None:
    exposition = told(
        budgets=(budget(90, netns="n002"), budget(50, netns="gone"), budget(40)),
        peers=(peer(9, netns="n002"), peer(5, netns="gone"), peer(4)),
        namespaces=2,
    )
    assert by("netns", series(exposition, RATIO)) == {OTHER: 0.9, "host": 0.4}
    assert by("netns", series(exposition, PEERS)) == {OTHER: 14, "host": 4}


def test_a_peer_has_every_state_of_closing() -> None:
    exposition = told(peers=(peer(9), peer(2, peer="10.0.0.9:*", state=State.LAST_ACK)))
    assert {dict(labels)["state"]: number for labels, number in series(exposition, PEERS).items()} == {
        "close_wait": 9,
        "fin_wait_1": 0,
        "fin_wait_2": 0,
        "last_ack": 2,
        "closing": 0,
    }


def test_peers_that_were_counted_together_are_other_however_many_they_are() -> None:
    rest = peer(500, local="*", peer="*")
    exposition = told(peers=(rest, peer(9), peer(8)), top=1)
    assert by("peer", series(exposition, PEERS)) == {"10.0.0.9:*": 9, OTHER: 508}
    assert total(exposition, PEERS) == 517
    assert by("local", series(exposition, PEERS)) == {"10.0.0.1:80": 9, OTHER: 508}
