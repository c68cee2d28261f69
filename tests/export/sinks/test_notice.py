import json
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from builders import process
from reports import leak
from sinks import FIRED, alert, over
from sockwatch.export.sinks.notice import notice_object, notice_of, variables
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import OtherEnd, Subject
from sockwatch.model.state import State

HOSTILE = ["a\nb=c", "\x1b[2J", "\udcff\udcfe", "\u202egnp", "$(id)", "\x00", "x" * 5000]


def test_the_environment_of_a_hook() -> None:
    assert variables(notice_of(alert()), "web1") == {
        "SOCKWATCH_STATUS": "firing",
        "SOCKWATCH_CODE": "close_wait_leak",
        "SOCKWATCH_VARIANT": "not_closed",
        "SOCKWATCH_SEVERITY": "warning",
        "SOCKWATCH_SUMMARY": "app[812] read the end of 23 connections and never closed them",
        "SOCKWATCH_NETNS": "host",
        "SOCKWATCH_LOCAL": "10.0.0.1:8080",
        "SOCKWATCH_REMOTE": "10.0.0.9:*",
        "SOCKWATCH_PROCESS": "app",
        "SOCKWATCH_PID": "812",
        "SOCKWATCH_UNIT": "app.service",
        "SOCKWATCH_CONTAINER": "",
        "SOCKWATCH_COUNT": "23",
        "SOCKWATCH_SINCE": "2023-11-14T22:13:20.000Z",
        "SOCKWATCH_RESOLVED": "",
        "SOCKWATCH_HOST": "web1",
    }


def test_what_is_over_is_told_as_over_and_for_how_long_it_lasted() -> None:
    told = notice_of(over())
    assert told.summary == "over after 10 min: app[812] read the end of 23 connections and never closed them"
    assert notice_object(told, "web1")["summary"] == variables(told, "web1")["SOCKWATCH_SUMMARY"] == told.summary
    assert variables(told, "web1")["SOCKWATCH_RESOLVED"] == "2023-11-14T22:23:50.000Z"


def test_what_nobody_knows_is_empty() -> None:
    blind = replace(alert(identity=AlertIdentity(code="blind")), finding=None)
    told = variables(notice_of(blind), "web1")
    assert {told[f"SOCKWATCH_{name}"] for name in ("VARIANT", "NETNS", "LOCAL", "REMOTE", "PROCESS", "PID")} == {""}
    assert notice_object(notice_of(blind), "web1")["finding"] is None
    assert notice_object(notice_of(blind), "web1")["subject"]["process"] is None


def test_the_standard_input_of_a_hook() -> None:
    told = notice_object(notice_of(over()), "web1")
    assert (told["schema"], told["status"], told["host"]) == ("sockwatch.alert/1", "resolved", "web1")
    assert (told["since"], told["fired"], told["resolved"]) == (
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:50.000Z",
        "2023-11-14T22:23:50.000Z",
    )
    assert told["subject"]["process"] == {"pid": 812, "name": "app", "unit": "app.service", "container": None}
    assert told["finding"]["code"] == "close_wait_leak"
    assert len(told["finding"]["sockets"]) == 1


def test_command_lines_are_not_passed_on() -> None:
    secret = replace(process(812), command="app -x hunter2")
    finding = leak(
        subject=Subject(netns="host", process=secret),
        holders=(secret, replace(secret, pid=813)),
        other_end=OtherEnd(state=State.FIN_WAIT_2, process=secret),
    )
    told = json.dumps(notice_object(notice_of(replace(over(), finding=finding)), "web1"))
    assert "813" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_others_are_printable_and_short(text: str) -> None:
    finding = leak(subject=Subject(netns=text, local=text), summary=text, cause=text, remedies=(text,))
    hostile = alert(
        finding=finding,
        identity=AlertIdentity(code="close_wait_leak", netns=text, process=text, unit=text, container=text),
        summary=text,
        cause=text,
        remedies=(text,) * 30,
    )
    notice = notice_of(hostile)
    for name, value in variables(notice, text[:64]).items():
        assert value.isprintable(), name
        assert len(value.encode()) <= 1000
    assert len(notice.identity.process) <= 128
    json.dumps(notice_object(notice, text)).encode("ascii")


@given(name=st.text(max_size=300))
def test_two_alerts_stay_two(name: str) -> None:
    one, two = (notice_of(alert(identity=AlertIdentity(code="a", process=name + end))) for end in "xy")
    assert one.identity != two.identity


def test_times_are_those_of_the_alert() -> None:
    notice = notice_of(over())
    assert (notice.began, notice.fired, notice.resolved) == (FIRED - 30, FIRED, FIRED + 600)
    assert notice_of(alert(), whole=False).finding is None
