"""What is left of a stage: nothing, however the run ends; and what is said where it differs or cannot be set."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from netns import require_namespaces
from scenery import is_alive, lab, standing

SECONDS = 30.0
NAME = "port_theft_risk/listener"
CHANGED = """
import dataclasses, sys
from sockwatch.__main__ import main
from sockwatch.lab import performance, registry
from sockwatch.lab.scenario import Expected
from sockwatch.model.finding import Severity

real = registry.load_scenarios()["port_theft_risk/listener"]
warning = Expected(name="port_theft_risk/listener", severity=Severity.WARNING, count=1, by="client")
no_sysctl = lambda stage: stage.set_sysctl("net.ipv4.no_such", "1")
scenarios = (
    real,
    dataclasses.replace(real, name="differs", expected=(warning,)),
    dataclasses.replace(real, name="absent", provoke=no_sysctl),
    dataclasses.replace(real, name="refused", provoke=lambda stage: stage.client.connect(9)),
    dataclasses.replace(real, name="broken", provoke=lambda stage: 1 / 0),
)
performance.DEADLINE_SECONDS = 1.0
registry.load_scenarios = lambda: {scenario.name: scenario for scenario in scenarios}
sys.exit(main())
"""
PROGRAM = ("-c", CHANGED)


def all_end(pids: list[int]) -> bool:
    deadline = time.monotonic() + SECONDS
    while any(map(is_alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_ctrl_c_ends_the_stage_and_its_players() -> None:
    with standing(NAME) as stage:
        assert all(map(is_alive, stage.pids))
        os.killpg(stage.process.pid, signal.SIGINT)
        assert stage.process.wait(SECONDS) == 130
        assert not any(map(is_alive, stage.pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_run_that_is_killed(number: signal.Signals) -> None:
    with standing(NAME) as stage:
        stage.process.send_signal(number)
        stage.process.wait(SECONDS)
        assert all_end(stage.pids)


def test_players_die_with_a_stage_that_is_killed() -> None:
    with standing(NAME) as stage:
        os.kill(stage.result["pids"]["stage"], signal.SIGKILL)
        assert all_end(stage.pids)


def test_players_are_two_processes_that_findings_can_name() -> None:
    with standing(NAME) as stage:
        assert len(set(stage.pids)) == 3
        (finding,) = stage.result["found"]
        assert finding["subject"]["process"]["pid"] == stage.result["pids"]["server"]
        assert finding["subject"]["process"]["name"] == "lab-server"


def test_a_finding_with_variants_says_which_there_are() -> None:
    run = lab("run", "self_connect")
    assert run.returncode == 3
    assert run.stderr == "sockwatch: which one? self_connect/live, self_connect/time_wait\n"


def test_a_kept_stage_says_how_to_look_at_it_from_outside() -> None:
    run = lab("run", NAME, "--keep", "0.01")
    if "private network namespace" in run.stderr:
        require_namespaces()
    assert run.returncode == 0
    assert "sockwatch check --min-age 1" in run.stdout
    assert "nsenter --target " in run.stdout


def test_a_diagnosis_that_differs_is_told_both_ways_and_exits_1() -> None:
    run = lab("run", "differs", program=PROGRAM)
    if "private network namespace" in run.stderr:
        require_namespaces()
    assert run.returncode == 1
    assert "declared, not found: warning  port_theft_risk/listener, 1 socket, by client\n" in run.stdout
    assert "found, not declared: info     port_theft_risk/listener, 1 socket, by server\n" in run.stdout


def test_what_cannot_be_provoked_is_one_line_and_exits_3() -> None:
    run = lab("run", "absent", program=PROGRAM)
    if "private network namespace" in run.stderr:
        require_namespaces()
    assert run.returncode == 3
    assert run.stderr == (
        "sockwatch: cannot set net.ipv4.no_such to 1 in the private namespace: No such file or directory\n"
    )


def test_a_refusal_that_the_story_does_not_expect_is_one_line_and_exits_3() -> None:
    run = lab("run", "refused", program=PROGRAM)
    if "private network namespace" in run.stderr:
        require_namespaces()
    assert run.returncode == 3
    assert run.stderr == "sockwatch: the kernel refused what the scenario needs: Connection refused\n"
    assert "refused: ECONNREFUSED" in run.stdout


def test_a_bug_in_a_scenario_is_shown_and_exits_3() -> None:
    run = lab("run", "broken", program=PROGRAM)
    if "private network namespace" in run.stderr:
        require_namespaces()
    assert run.returncode == 3
    assert "ZeroDivisionError" in run.stderr
    assert "the process of the stage ended before the scenario did" in run.stderr


def test_all_ends_with_a_table_and_the_worst_exit_code() -> None:
    run = lab("run", "all", program=PROGRAM)
    if "private network namespace" in run.stdout:
        require_namespaces()
    assert run.returncode == 3
    verdicts = {line.split()[0]: line for line in run.stdout.splitlines()[1:]}
    assert verdicts[NAME].endswith("1 info                as declared")
    assert "declared, not found: warning" in verdicts["differs"]
    assert "not provoked: cannot set net.ipv4.no_such" in verdicts["absent"]


def test_all_as_json_is_one_object_a_line() -> None:
    run = lab("run", "all", "--json", program=PROGRAM)
    results = {result["name"]: result for result in map(json.loads, run.stdout.splitlines())}
    if "private network namespace" in results[NAME].get("error", ""):
        require_namespaces()
    assert [name for name, result in results.items() if result["ok"]] == [NAME]
    assert len(results) == 5
    assert results["differs"]["missing"] == ["warning  port_theft_risk/listener, 1 socket, by client"]
    assert results["absent"]["error"].startswith("cannot set net.ipv4.no_such")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run",), "which scenario?"),
        (("run", "close_wait_leak/not_close"), "did you mean close_wait_leak/not_closed?"),
        (("list", "all"), "one word too many"),
        (("start", "all"), '"start" is not valid'),
        (("run", "all", "--keep", "5"), "--keep leaves one stage standing"),
        (("run", "lottery", "--keep", "for ever"), "--keep"),
    ],
)
def test_a_wrong_word_is_one_line_and_exits_3(arguments: tuple[str, ...], complaint: str) -> None:
    run = lab(*arguments)
    assert run.returncode == 3
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert complaint in run.stderr


def test_where_no_namespace_is_allowed_one_line_says_why() -> None:
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    wrapped = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapped, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("kernel: no user namespaces here")
    run = subprocess.run(
        [*wrapped, sys.executable, "-m", "sockwatch", "lab", "run", NAME], check=False, capture_output=True, text=True
    )
    assert run.returncode == 3
    assert run.stdout == ""
    assert run.stderr == (
        "sockwatch: cannot make a private network namespace: No space left on device "
        "(/proc/sys/user/max_user_namespaces or max_net_namespaces is reached)\n"
    )
