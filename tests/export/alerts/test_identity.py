"""An identity stays the same while the sockets of a finding change."""

from dataclasses import replace
from typing import Any

import pytest

from builders import namespace, process
from reports import leak, overflow, report
from sockwatch.diagnose.registry import load_detectors
from sockwatch.export.alerts.identity import _GROUPED, identity_of, without_process
from sockwatch.export.alerts.sighting import sightings
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Finding, Severity, Subject

RANGE = (32768, 60999)


def at(code: str, variant: str | None, local: str | None, remote: str | None) -> Finding:
    return leak(code=code, variant=variant, subject=Subject(netns="host", local=local, remote=remote))


@pytest.mark.parametrize(
    ("name", "ends", "expected"),
    [
        # A server with one leaked connection, with two of one client, with those of several, on several addresses.
        ("close_wait_leak/not_closed", ("10.0.0.1:8080", "10.0.0.9:40001"), ("*:8080", "*:*")),
        ("close_wait_leak/not_closed", ("10.0.0.1:8080", "10.0.0.9:*"), ("*:8080", "*:*")),
        ("close_wait_leak/not_closed", ("10.0.0.1:8080", "*:*"), ("*:8080", "*:*")),
        ("close_wait_leak/not_closed", ("*:8080", "*:*"), ("*:8080", "*:*")),
        ("close_wait_leak/not_closed", ("[::1]:8080", "[::1]:40001"), ("*:8080", "*:*")),
        # A client.
        ("close_wait_leak/not_closed", ("10.0.0.1:40001", "10.0.0.9:443"), ("*:*", "10.0.0.9:443")),
        ("close_wait_leak/not_closed", ("10.0.0.1:*", "10.0.0.9:443"), ("*:*", "10.0.0.9:443")),
        ("close_wait_leak/not_closed", ("*:*", "10.0.0.9:443"), ("*:*", "10.0.0.9:443")),
        # One connection of which no port tells, and what is left of many groups.
        ("close_wait_leak/not_closed", ("10.0.0.1:40001", "10.0.0.9:40002"), ("*:*", "*:*")),
        ("close_wait_leak/not_closed", ("10.0.0.1:*", "*:*"), ("*:*", "*:*")),
        # Neither port is a client's: the lower one serves.
        ("close_wait_leak/not_closed", ("10.0.0.1:22", "10.0.0.9:1023"), ("*:22", "*:*")),
        ("close_wait_leak/not_closed", ("10.0.0.1:1023", "10.0.0.9:22"), ("*:*", "10.0.0.9:22")),
        # The source address is a part of these groups.
        ("dead_peer/retransmitting", ("10.0.0.1:40001", "10.0.0.9:443"), ("10.0.0.1:*", "10.0.0.9:443")),
        ("dead_peer/retransmitting", ("10.0.0.1:443", "10.0.0.9:40001"), ("10.0.0.1:443", "*:*")),
        ("fin_wait_2_stuck/orphaned", ("10.0.0.1:443", "*:*"), ("10.0.0.1:443", "*:*")),
        ("fin_wait_2_stuck/held", ("10.0.0.1:443", "*:*"), ("*:443", "*:*")),
        ("connect_unanswered", ("10.0.0.1:40001", "10.0.0.9:443"), ("10.0.0.1:*", "10.0.0.9:443")),
        ("connect_unanswered", ("10.0.0.1:*", "10.0.0.9:50051"), ("10.0.0.1:*", "10.0.0.9:50051")),
        ("port_exhaustion/connect_budget", ("10.0.0.1:*", "10.0.0.9:443"), ("10.0.0.1:*", "10.0.0.9:443")),
        ("port_exhaustion/bind_budget", ("10.0.0.1:*", "10.0.0.9:*"), ("10.0.0.1:*", "*:*")),
        ("port_theft_risk/target", ("127.0.0.1:40001", "127.0.0.1:50000"), ("*:*", "127.0.0.1:50000")),
        ("bound_unconnected", ("0.0.0.0:40001", None), ("*:*", "")),
        ("bound_unconnected", ("10.0.0.1:40001", "10.0.0.9:443"), ("*:*", "10.0.0.9:443")),
        ("udp_receive_drops", ("0.0.0.0:514", None), ("0.0.0.0:514", "")),
        ("udp_receive_drops", ("10.0.0.1:40001", "10.0.0.9:53"), ("*:*", "10.0.0.9:53")),
        # Listeners, and what has no ends.
        ("accept_queue_overflow/somaxconn", ("0.0.0.0:80", None), ("0.0.0.0:80", "")),
        ("self_connect/live", ("127.0.0.1:40001", "127.0.0.1:40001"), ("127.0.0.1:40001", "127.0.0.1:40001")),
        ("memory_pressure", (None, None), ("", "")),
    ],
)
def test_has_what_the_finding_is_grouped_by(
    name: str, ends: tuple[str | None, str | None], expected: tuple[str, str]
) -> None:
    code, _, variant = name.partition("/")
    identity = identity_of(at(code, variant or None, *ends), RANGE)
    assert identity == AlertIdentity(code=code, variant=variant, netns="host", local=expected[0], remote=expected[1])


def test_a_wide_range_of_client_ports_is_no_hindrance() -> None:
    wide = (1024, 65535)
    server = at("close_wait_leak", "not_closed", "10.0.0.1:8080", "10.0.0.9:40001")
    client = at("close_wait_leak", "not_closed", "10.0.0.1:2000", "10.0.0.9:443")
    unclear = at("close_wait_leak", "not_closed", "10.0.0.1:2000", "10.0.0.9:3000")
    assert identity_of(server, wide).local == "*:8080"
    assert identity_of(client, wide).remote == "10.0.0.9:443"
    assert identity_of(unclear, wide) == replace(identity_of(unclear, wide), local="*:*", remote="*:*")


def test_every_kind_that_is_grouped_in_its_own_way_exists() -> None:
    detectors = load_detectors()
    for code, variant in _GROUPED:
        assert code in detectors
        assert variant is None or variant in detectors[code].variants


def test_names_the_process_and_never_its_pid() -> None:
    first, second = (
        leak(subject=Subject(netns="host", local="*:80", remote="*:*", process=process(pid, unit="app.service")))
        for pid in (7, 8)
    )
    assert identity_of(first) == identity_of(second)
    assert identity_of(first).process == "app"
    assert identity_of(first).unit == "app.service"


def test_findings_of_one_identity_are_one_alert_with_the_worst_severity_and_all_sockets() -> None:
    def of(pid: int, **fields: Any) -> Finding:
        return leak(subject=Subject(netns="host", local="*:80", remote="*:*", process=process(pid)), **fields)

    worst = of(8, count=3, severity=Severity.CRITICAL)
    (sighting,) = sightings(report(of(7, count=20), worst, of(9, count=1)), ()).values()
    assert sighting.finding is worst
    assert sighting.count == 24


def test_a_look_that_cannot_name_the_process_means_the_alert_that_could() -> None:
    named = leak()
    unnamed = leak(subject=replace(named.subject, process=None))
    identity = identity_of(named)
    assert list(sightings(report(unnamed), [identity])) == [identity]
    assert list(sightings(report(named), [without_process(identity)])) == [without_process(identity)]


def test_a_look_that_cannot_name_the_process_means_no_alert_where_several_could_be_meant() -> None:
    named = leak()
    identity = identity_of(named)
    unnamed = leak(subject=replace(named.subject, process=None))
    known = [identity, replace(identity, process="other")]
    assert list(sightings(report(unnamed), known)) == [without_process(identity)]


def test_another_process_at_the_same_place_is_another_alert() -> None:
    identity = identity_of(leak())
    other = replace(identity, process="other")
    assert list(sightings(report(leak()), [other])) == [identity]


def test_the_range_of_client_ports_is_that_of_the_namespace() -> None:
    inside = at("close_wait_leak", "not_closed", "10.0.0.1:2000", "10.0.0.9:1500")
    narrow = namespace(ip_local_port_range="1400 1600")
    (identity,) = sightings(report(inside, namespaces=[narrow]), ())
    assert identity.local == "*:2000"
    (identity,) = sightings(report(inside, overflow(), namespaces=[namespace("other")]), ()).keys() - {
        identity_of(overflow())
    }
    assert identity.remote == "10.0.0.9:1500"
