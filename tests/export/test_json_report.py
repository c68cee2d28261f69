import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

import reports
from builders import namespace, process
from reports import SCHEMA, VALIDATOR
from sockwatch.export.json_report import finding_object, report_object, report_text
from sockwatch.model.finding import Subject
from sockwatch.model.state import State


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", ["sick", "healthy", "failed"])
def test_reports_are_as_recorded_and_as_the_schema_says(name: str, golden: Callable[[str, str], None]) -> None:
    text = report_text(getattr(reports, name)(), indent=True)
    VALIDATOR.validate(json.loads(text))
    golden(f"report_{name}.json", text)


def test_one_line_holds_the_same_as_many() -> None:
    line = report_text(reports.sick())
    assert line.count("\n") == 1
    assert json.loads(line) == json.loads(report_text(reports.sick(), indent=True))


def required_keys(schema: Mapping[str, Any], at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    here = [(at, key) for key in schema.get("required", ())]
    for name, part in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        here += required_keys(part, (*at, name))
    return here


def without(tree: Any, key: str) -> Any:
    if isinstance(tree, dict):
        return {k: without(v, key) for k, v in tree.items() if k != key}
    return [without(v, key) for v in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("key", sorted({key for _, key in required_keys(SCHEMA)}))
def test_the_schema_misses_every_key_that_is_not_there(key: str) -> None:
    whole = report_object(reports.sick())
    assert without(whole, key) != whole
    assert not VALIDATOR.is_valid(without(whole, key))


def test_the_schema_allows_new_keys() -> None:
    assert VALIDATOR.is_valid(report_object(reports.sick()) | {"added_later": 1})


@pytest.mark.parametrize(("key", "value"), [("status", "fine"), ("host", None), ("findings", {}), ("time", 5)])
def test_the_schema_refuses_other_types(key: str, value: object) -> None:
    assert not VALIDATOR.is_valid(report_object(reports.sick()) | {key: value})


def test_keys_come_in_the_order_of_the_schema() -> None:
    whole = report_object(reports.sick())
    definitions = SCHEMA["$defs"]
    assert list(whole) == list(SCHEMA["properties"])
    several = finding_object(replace(reports.overflow(), by_state={State.LISTEN: 1, State.SYN_RECV: 128}))
    assert list(several) == list(definitions["finding"]["properties"])
    assert list(whole["findings"][1]["sockets"][0]) == list(definitions["socket"]["properties"])
    assert list(whole["sockets"]["by_state"]) == list(definitions["counts"]["properties"]["by_state"]["properties"])


def test_holders_appear_only_when_there_are_more_than_one() -> None:
    assert "holders" not in finding_object(reports.leak(holders=()))
    assert "holders" not in finding_object(reports.leak(holders=(process(812),)))
    two = finding_object(reports.leak(holders=(process(812), process(813))))
    assert [holder["pid"] for holder in two["holders"]] == [812, 813]


def test_the_check_s_own_namespace_gives_the_counters_and_sysctls() -> None:
    spaces = [namespace("host", counters={"Tcp.ActiveOpens": 1}), namespace("blue", tcp_fin_timeout="30")]
    whole = report_object(reports.report(namespaces=spaces))
    assert whole["counters"] == {"Tcp.ActiveOpens": 1}
    assert whole["sysctls"]["net.ipv4.tcp_fin_timeout"] == "60"
    assert [(n["netns"], n["sysctls"]["net.ipv4.tcp_fin_timeout"]) for n in whole["namespaces"]] == [
        ("host", "60"),
        ("blue", "30"),
    ]


def test_a_number_that_is_not_there_is_left_out_or_null_and_never_zero() -> None:
    nan = float("nan")
    finding = reports.leak(oldest_seconds=nan, evidence={"a": nan, "b": 0}, sockets=(reports.row(age_seconds=nan),))
    seen = finding_object(finding)
    assert seen["oldest_seconds"] is None
    assert seen["evidence"] == {"b": 0}
    assert seen["sockets"][0]["age_seconds"] is None


def test_floats_are_rounded_and_integers_stay() -> None:
    seen = finding_object(reports.leak(oldest_seconds=1 / 3, evidence={"rate": 2 / 3, "port": 8080}))
    assert seen["oldest_seconds"] == 0.333
    assert seen["evidence"] == {"rate": 0.667, "port": 8080}


def test_hostile_names_leave_the_text_ascii_and_without_controls() -> None:
    name = "\x1b]0;x\x07\n\u202e\udcff"
    hostile = reports.leak(subject=Subject(netns="host", process=process(1, name)), summary=name)
    text = report_text(reports.report(hostile, host=name))
    assert text.isascii()
    assert text[:-1].isprintable()
    assert json.loads(text)["findings"][0]["subject"]["process"]["name"] == r"\x1b]0;x\x07\n\u202e\udcff"


def test_a_sysctl_s_value_is_what_the_kernel_said() -> None:
    whole = report_object(reports.healthy())
    assert whole["sysctls"]["net.ipv4.ip_local_port_range"] == "32768\t60999"


def test_a_failed_look_counts_nothing_as_zero() -> None:
    whole = report_object(reports.failed())
    assert whole["status"] == "unknown"
    assert set(whole["sockets"]["by_state"].values()) == {None}
    assert set(whole["sockets"]["by_state"]) == {state.label for state in State}


def test_how_many_are_in_each_state_is_told_where_they_are_not_all_in_one() -> None:
    several = {State.CLOSE_WAIT: 20, State.ESTABLISHED: 3}
    told = report_object(reports.report(reports.leak(by_state=several), reports.leak(by_state={State.CLOSE_WAIT: 23})))
    reports.VALIDATOR.validate(told)
    assert [one.get("by_state") for one in told["findings"]] == [{"close_wait": 20, "established": 3}, None]
