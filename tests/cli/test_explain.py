from collections.abc import Callable

import pytest
import yaml

from contract.repository import ROOT
from sockwatch.cli.glossary.rules import RULES
from sockwatch.cli.glossary.states import STATES
from sockwatch.cli.glossary.sysctls import SYSCTLS
from sockwatch.diagnose.registry import codes, load_detectors
from sockwatch.model.state import State

Run = Callable[..., tuple[int, str, str]]
KINDS = [f"{code}/{variant}" for code, detector in load_detectors().items() for variant in detector.variants]


def test_the_list_has_every_finding_state_and_sysctl(run: Run) -> None:
    code, out, _ = run("explain")
    assert code == 0
    assert all(word in out for word in [*codes(), *(state.label for state in State), *SYSCTLS])


@pytest.mark.parametrize("word", [*codes(), *KINDS])
def test_every_finding_is_explained_in_all_its_sections(word: str, run: Run) -> None:
    code, out, _ = run("explain", word)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == word
    sections = ["What it sees", "Why it matters", "Kernel fields", "When it is wrong", "What to do"]
    assert [line for line in lines if line in sections] == sections


def test_the_alert_that_is_no_finding_is_explained_too(run: Run) -> None:
    code, out, _ = run("explain", "blind")
    assert (code, out.splitlines()[0]) == (0, "blind")
    assert "  blind " in run("explain")[1]


def test_the_runbook_of_a_test_alert_explains_it(run: Run) -> None:
    code, out, _ = run("explain", "test")
    assert (code, out.splitlines()[0]) == (0, "test")
    assert "nothing is wrong" in out


def test_the_alerts_of_the_prometheus_rules_are_explained_by_their_names(run: Run) -> None:
    groups = yaml.safe_load((ROOT / "prometheus" / "sockwatch.rules.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["alert"]: rule["labels"]["code"] for rule in rules if "code" in rule["labels"]} == RULES
    assert run("explain", "SockwatchBlind") == run("explain", "blind")
    assert run("explain", "TcpMemoryRunsOut") == run("explain", "memory_pressure")


@pytest.mark.parametrize("word", [*(state.label for state in State), "CLOSE_WAIT", "FIN-WAIT-2", "close-wait"])
def test_every_state_is_explained_however_it_is_spelled(word: str, run: Run) -> None:
    code, out, _ = run("explain", word)
    assert code == 0
    assert out.startswith(word.lower().replace("-", "_") + "\n")


@pytest.mark.parametrize("name", [form for name in SYSCTLS for form in (name, name.rpartition(".")[2])])
def test_every_sysctl_is_explained_by_its_full_name_and_its_last_part(name: str, run: Run) -> None:
    code, out, _ = run("explain", name)
    assert code == 0
    assert out.partition("\n")[0].endswith(name)


def test_a_sysctl_is_known_by_its_path(run: Run) -> None:
    assert run("explain", "/proc/sys/net/ipv4/tcp_fin_timeout") == run("explain", "tcp_fin_timeout")


def test_all_twelve_states_have_an_entry() -> None:
    assert set(STATES) == set(State)


@pytest.mark.parametrize("word", [*codes(), "blind", "fin_wait_2", "tcp_max_tw_buckets", None])
def test_lines_fit_a_terminal(word: str | None, run: Run) -> None:
    assert max(map(len, run("explain", *([word] if word else []))[1].splitlines())) <= 80
