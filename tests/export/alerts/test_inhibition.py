"""Of a cause and its consequence only the cause is told."""

from typing import Any

import pytest

from builders import process
from reports import leak
from sockwatch.diagnose.registry import load_detectors
from sockwatch.export.alerts.identity import identity_of
from sockwatch.export.alerts.inhibition import RULES, Rule, explained
from sockwatch.model.alert import Alert, AlertState
from sockwatch.model.finding import OtherEnd, Severity, Subject
from sockwatch.model.state import State

SERVER, CLIENT = process(7, "server"), process(9, "client")


def alert(name: str, local: str | None = None, remote: str | None = None, **fields: Any) -> Alert:
    """A firing alert about SERVER, unless `held_by` says otherwise."""
    code, _, variant = name.partition("/")
    subject = Subject(
        netns=fields.pop("netns", "host"), local=local, remote=remote, process=fields.pop("held_by", SERVER)
    )
    finding = leak(code=code, variant=variant or None, subject=subject, other_end=fields.pop("other_end", None))
    given: dict[str, Any] = {
        "identity": identity_of(finding, (32768, 60999)),
        "state": AlertState.FIRING,
        "severity": Severity.WARNING,
        "summary": finding.summary,
        "cause": finding.cause,
        "remedies": finding.remedies,
        "count": finding.count,
        "began": 1.0,
        "fired": 2.0,
        "finding": finding,
    }
    return Alert(**(given | fields))


WAITS_FOR_SERVER = OtherEnd(state=State.CLOSE_WAIT, process=SERVER)
PAIRS = {
    "never accepted": (
        alert("accept_queue_overflow/somaxconn", "0.0.0.0:80"),
        alert("close_wait_leak/never_accepted", "10.0.0.1:80", "10.0.0.9:*"),
    ),
    "half-open": (
        alert("accept_queue_overflow/application_backlog", "0.0.0.0:80"),
        alert("syn_recv_buildup/unacknowledged", "0.0.0.0:80"),
    ),
    "clients here": (
        alert("accept_queue_overflow/application_backlog", "0.0.0.0:80"),
        alert(
            "connect_unanswered",
            "127.0.0.1:*",
            "127.0.0.1:80",
            held_by=CLIENT,
            other_end=OtherEnd(state=State.LISTEN, process=SERVER),
        ),
    ),
    "other end": (
        alert("close_wait_leak/not_closed", "10.0.0.1:8080", "10.0.0.9:*"),
        alert("fin_wait_2_stuck/orphaned", "10.0.0.9:*", "10.0.0.1:8080", held_by=None, other_end=WAITS_FOR_SERVER),
    ),
    "other end, which is a client": (
        alert("close_wait_leak/not_closed", "10.0.0.9:*", "10.0.0.1:8080"),
        alert("fin_wait_2_stuck/held", "10.0.0.1:8080", "10.0.0.9:*", held_by=CLIENT, other_end=WAITS_FOR_SERVER),
    ),
    "port budget": (
        alert("port_exhaustion/connect_budget", "10.0.0.1:*", "10.0.0.9:443"),
        alert("time_wait_buildup/client_ports", "10.0.0.1:*", "10.0.0.9:443"),
    ),
    "risk come true": (
        alert("self_connect/live", "127.0.0.1:50000", "127.0.0.1:50000"),
        alert("port_theft_risk/target", "127.0.0.1:*", "127.0.0.1:50000"),
    ),
    "came true before": (
        alert("self_connect/live", "127.0.0.1:50000", "127.0.0.1:50000"),
        alert("self_connect/time_wait", "127.0.0.1:50000", "127.0.0.1:50000", held_by=None),
    ),
    "destination gone": (
        alert("connect_unanswered", "10.0.0.1:*", "10.0.0.9:443"),
        alert("dead_peer/retransmitting", "10.0.0.1:*", "10.0.0.9:443", held_by=CLIENT),
    ),
    "destination gone while closing": (
        alert("connect_unanswered", "10.0.0.1:*", "10.0.0.9:443"),
        alert("closing_stuck/fin_wait_1", "10.0.0.1:*", "10.0.0.9:443", held_by=None),
    ),
    "clients gone": (
        alert("dead_peer/retransmitting", "10.0.0.1:443", "*:*"),
        alert("closing_stuck/last_ack", "10.0.0.1:443", "*:*", held_by=None),
    ),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_a_cause_explains_its_consequence(pair: tuple[Alert, Alert]) -> None:
    cause, consequence = pair
    expected = {consequence.identity: cause.identity}
    assert explained(pair) == expected
    assert explained((consequence, cause)) == expected


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_not_in_another_namespace(pair: tuple[Alert, Alert]) -> None:
    cause, consequence = pair
    finding = consequence.finding
    assert finding is not None
    elsewhere = alert(
        consequence.name,
        finding.subject.local,
        finding.subject.remote,
        netns="box",
        held_by=finding.subject.process,
        other_end=finding.other_end,
    )
    assert explained((cause, elsewhere)) == {}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_not_about_another_port(pair: tuple[Alert, Alert]) -> None:
    cause, consequence = pair
    finding = consequence.finding
    assert finding is not None

    def moved(endpoint: str | None) -> str | None:
        return None if endpoint is None else endpoint.replace(":80", ":81").replace(":443", ":444").replace(":5", ":6")

    elsewhere = alert(
        consequence.name,
        moved(finding.subject.local),
        moved(finding.subject.remote),
        held_by=finding.subject.process,
        other_end=finding.other_end,
    )
    assert explained((cause, elsewhere)) == {}


def test_a_cause_explains_before_it_fires_and_not_when_it_is_over() -> None:
    _, consequence = PAIRS["never accepted"]
    pending = alert("accept_queue_overflow/somaxconn", "0.0.0.0:80", state=AlertState.PENDING)
    assert explained((pending, consequence)) == {consequence.identity: pending.identity}
    over = alert("accept_queue_overflow/somaxconn", "0.0.0.0:80", state=AlertState.RESOLVED)
    assert explained((over, consequence)) == {}


def test_a_warning_keeps_nothing_critical_quiet() -> None:
    cause, _ = PAIRS["never accepted"]
    worse = alert("close_wait_leak/never_accepted", "10.0.0.1:80", "10.0.0.9:*", severity=Severity.CRITICAL)
    assert explained((cause, worse)) == {}


def test_a_leak_in_another_process_is_not_the_other_end() -> None:
    cause, consequence = PAIRS["other end"]
    other = alert("close_wait_leak/not_closed", "10.0.0.1:8080", "10.0.0.9:*", held_by=CLIENT)
    assert explained((other, consequence)) == {}
    unnamed = alert("close_wait_leak/not_closed", "10.0.0.1:8080", "10.0.0.9:*", held_by=None)
    assert explained((unnamed, consequence)) == {consequence.identity: unnamed.identity}
    far = alert("fin_wait_2_stuck/orphaned", "10.0.0.9:*", "10.0.0.1:8080", held_by=None)
    assert explained((cause, far)) == {}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.cause} {rule.consequence}")
def test_every_rule_is_about_findings_that_exist_and_has_an_example(rule: Rule) -> None:
    detectors = load_detectors()
    for name in (rule.cause, rule.consequence):
        code, _, variant = name.partition("/")
        assert code in detectors
        assert not variant or variant in detectors[code].variants
    examples = [
        (cause, consequence)
        for cause, consequence in PAIRS.values()
        if rule.cause in {cause.name, cause.identity.code}
        and rule.consequence in {consequence.name, consequence.identity.code}
    ]
    assert any(rule.when(*pair) for pair in examples)


def test_nothing_explains_itself_through_others() -> None:
    def consequences(name: str) -> set[str]:
        code = name.partition("/")[0]
        return {rule.consequence for rule in RULES if rule.cause in {name, code} or rule.cause.startswith(f"{name}/")}

    for rule in RULES:
        reached, new = set[str](), {rule.consequence}
        while new - reached:
            reached |= new
            new = set().union(*(consequences(name) for name in reached))
        assert rule.cause not in reached
