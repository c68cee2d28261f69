"""Every scenario, provoked on the real kernel, with the real diagnosis, counted a second time by ss."""

import re
from pathlib import Path

import pytest

from contract.repository import ROOT
from scenery import lab, standing
from sockwatch.diagnose.registry import load_detectors
from sockwatch.lab.registry import load_scenarios

AS_NOBODY = (str(Path(__file__).with_name("as_nobody.py")),)

STATES = {
    "accept_queue_overflow/application_backlog": {"established": 46, "syn_sent": 7, "listen": 1},
    "accept_queue_overflow/somaxconn": {"established": 46, "syn_sent": 7, "listen": 1},
    "bind_with_reuse_address": {"time_wait": 23, "listen": 1},
    "bound_unconnected": {"listen": 1},
    "close_against_shutdown": {"close_wait": 46, "fin_wait_2": 23, "listen": 1},
    "close_in_four_waves": {"time_wait": 23, "listen": 1},
    "close_in_three_waves": {"time_wait": 23, "listen": 1},
    "close_wait_leak/data_unread": {"close_wait": 23, "fin_wait_2": 23, "listen": 1},
    "close_wait_leak/fin_not_seen": {"close_wait": 23, "fin_wait_2": 23, "listen": 1},
    "close_wait_leak/never_accepted": {"close_wait": 23, "fin_wait_2": 23, "listen": 1},
    "close_wait_leak/not_closed": {"close_wait": 23, "fin_wait_2": 23, "listen": 1},
    "closing_stuck/fin_wait_1": {"fin_wait_1": 23, "listen": 1},
    "closing_stuck/last_ack": {"last_ack": 23, "listen": 1},
    "close_wait_of_mptcp": {"established": 46, "listen": 1},
    "connect_unanswered": {"syn_sent": 23},
    "data_after_close": {"time_wait": 23, "listen": 1},
    "dead_peer/keepalive_probing": {"established": 23, "listen": 1},
    "dead_peer/retransmitting": {"established": 23, "listen": 1},
    "deferred_accept": {"established": 23, "syn_recv": 23, "listen": 1},
    "fin_behind_a_closed_window": {"established": 23, "fin_wait_1": 23, "listen": 1},
    "descriptors_run_out": {"established": 2, "close_wait": 23, "fin_wait_2": 23, "listen": 1},
    "fin_timeout_above_60": {"fin_wait_2": 23, "listen": 1},
    "fin_timeout_for_time_wait": {"time_wait": 23, "listen": 1},
    "fin_wait_2_stuck/held": {"fin_wait_2": 23, "listen": 1},
    "fin_wait_2_stuck/orphaned": {"fin_wait_2": 23, "listen": 1},
    "half_close_done_right": {"time_wait": 23, "listen": 1},
    "idle_without_keepalive": {"established": 23, "listen": 1},
    "keepalive_time_without_keepalive": {"established": 46, "listen": 1},
    "killed_process": {"time_wait": 23, "listen": 1},
    "knobs_for_a_full_accept_queue": {"established": 46, "syn_sent": 7, "listen": 1},
    "lottery": {"established": 1},
    "port_exhaustion/bind_budget": {"established": 46, "listen": 5},
    "port_exhaustion/connect_budget": {"established": 48, "listen": 2},
    "port_range_over_a_service": {"listen": 1},
    "port_theft_risk/listener": {"listen": 1},
    "port_theft_risk/target": {"syn_sent": 23},
    "reset_by_close": {"established": 46, "listen": 1},
    "retries2_for_closed_sockets": {"fin_wait_1": 23, "listen": 1},
    "self_connect/live": {"established": 1},
    "self_connect/time_wait": {"time_wait": 1},
    "simultaneous_close": {"closing": 23, "time_wait": 23, "listen": 1},
    "simultaneous_open": {"established": 46},
    "slow_reader": {"established": 46, "listen": 1},
    "syn_recv_buildup/flood": {"syn_recv": 23, "listen": 1},
    "syn_recv_buildup/unacknowledged": {"established": 23, "syn_recv": 23, "listen": 1},
    "time_wait_buildup/bind_blocked": {"time_wait": 23},
    "time_wait_buildup/client_ports": {"time_wait": 23, "listen": 1},
    "time_wait_buildup/server_side": {"time_wait": 23, "listen": 1},
    "time_wait_buildup/table_full": {"time_wait": 23, "listen": 1},
    "time_wait_rearmed": {"time_wait": 23, "last_ack": 23, "listen": 1},
    "tuple_clash": {"established": 46, "listen": 1},
    "tw_reuse_for_a_server": {"time_wait": 23, "listen": 1},
    "udp_receive_drops": {},
    "vanished_clients": {"established": 23, "listen": 1},
    "zero_window_stall": {"established": 46, "listen": 1},
}
"""What ss must count on each stage."""

NOT_PROVOKED = {"conntrack_pressure", "memory_pressure", "orphan_pressure"}
"""Their limits are the host's, and a private namespace can neither lower nor reach them without harm to it."""


@pytest.mark.needs_program("ss", "nsenter")
@pytest.mark.parametrize("name", load_scenarios())
def test_the_findings_are_those_declared_and_ss_counts_the_same_sockets(name: str) -> None:
    with standing(name) as stage:
        assert stage.differences == []
        assert stage.result["ok"]
        assert stage.count_with_ss() == STATES[name]


@pytest.mark.needs_program("ss", "nsenter")
@pytest.mark.parametrize("family", ["ipv6", "mapped"])
@pytest.mark.parametrize(
    "name",
    [
        "bound_unconnected",
        "close_wait_leak/never_accepted",
        "close_wait_of_mptcp",
        "close_wait_leak/not_closed",
        "closing_stuck/fin_wait_1",
        "closing_stuck/last_ack",
        "connect_unanswered",
        "dead_peer/keepalive_probing",
        "dead_peer/retransmitting",
        "deferred_accept",
        "fin_wait_2_stuck/held",
        "idle_without_keepalive",
        "port_exhaustion/bind_budget",
        "port_exhaustion/connect_budget",
        "reset_by_close",
        "simultaneous_close",
        "simultaneous_open",
        "syn_recv_buildup/flood",
        "syn_recv_buildup/unacknowledged",
        "time_wait_buildup/server_side",
        "tuple_clash",
        "udp_receive_drops",
        "zero_window_stall",
    ],
)
def test_the_findings_are_the_same_in_ipv6_and_on_a_dual_stack_listener(name: str, family: str) -> None:
    with standing(name, "--family", family) as stage:
        assert stage.differences == []
        assert stage.count_with_ss() == STATES[name]


@pytest.mark.needs_root
def test_an_ordinary_user_provokes_the_same() -> None:
    with standing("close_wait_leak/not_closed", program=AS_NOBODY) as stage:
        assert stage.differences == []
        assert {row["uid"] for finding in stage.result["found"] for row in finding["sockets"]} <= {0, 65534}


def test_each_variant_of_each_detector_has_a_scenario() -> None:
    variants = {f"{code}/{variant}" for code, detector in load_detectors().items() for variant in detector.variants} | {
        code for code, detector in load_detectors().items() if not detector.variants
    }
    declared = {expected.name for scenario in load_scenarios().values() for expected in scenario.expected}
    assert variants - NOT_PROVOKED == declared


def test_what_the_lab_does_not_provoke_is_said_in_the_docs() -> None:
    text = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8")
    (paragraph,) = [part for part in text.split("\n\n") if part.startswith("The lab provokes every finding")]
    said = set(re.findall(r"`(\w+)`", paragraph))
    assert said == NOT_PROVOKED


def test_a_scenario_named_after_a_finding_declares_it() -> None:
    for name, scenario in load_scenarios().items():
        assert "/" not in name or name in {expected.name for expected in scenario.expected}


def test_the_list_has_every_scenario_with_its_story() -> None:
    listed = lab("list")
    assert listed.returncode == 0
    assert [line for line in listed.stdout.splitlines() if not line.startswith(" ")] == list(load_scenarios())
