"""The glossary is the one source of what `explain` prints and of two pages in docs, and covers what findings name."""

import re
import textwrap
from collections.abc import Callable, Iterator

import pytest

from contract.repository import ROOT
from sockwatch.cli.glossary.states import STATES
from sockwatch.cli.glossary.sysctls import SYSCTLS
from sockwatch.diagnose.misfits.gone import GONE
from sockwatch.diagnose.misfits.misfit import DEFAULTS
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.what_if import rule, ruled
from sockwatch.model.state import State

WIDTH = 120


def entry(label: str, text: str) -> str:
    return textwrap.fill(f"- **{label}**: {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def states_page() -> Iterator[str]:
    yield "# The TCP states\n"
    yield "What `sockwatch explain STATE` prints, written from the same text (sockwatch/cli/glossary/).\n"
    for state, told in STATES.items():
        yield f"## {state.label}\n"
        yield entry("who", told.who)
        yield entry("waits for", told.waits_for)
        yield entry("ends with", told.ends)
        yield entry("timer", told.timer)
        yield entry("sysctl", told.sysctl)
        yield entry("not true", told.myth) + "\n"


def sysctls_page() -> Iterator[str]:
    yield "# What the sysctls do, and what not\n"
    yield "What `sockwatch explain SYSCTL` prints, written from the same text (sockwatch/cli/glossary/).\n"
    for name, told in SYSCTLS.items():
        yield f"## {name}\n"
        yield entry("does", told.does)
        yield entry("does not", told.does_not)
        if name in ruled():
            yield entry("when set", rule(name).takes_effect)
        yield entry("default", told.default)
        yield entry("since", f"Linux {told.since}") + "\n"


@pytest.mark.parametrize(("name", "page"), [("states.md", states_page), ("sysctls.md", sysctls_page)])
def test_the_page_is_what_the_glossary_says(
    name: str, page: Callable[[], Iterator[str]], request: pytest.FixtureRequest
) -> None:
    text = "\n".join(page())
    path = ROOT / "docs" / name
    if request.config.getoption("update_golden"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_every_sysctl_that_a_detector_reads_is_explained() -> None:
    asked = {name for detector in load_detectors().values() for name in detector.asks.sysctls}
    assert asked <= SYSCTLS.keys()


def test_what_is_gone_is_explained_as_gone() -> None:
    assert {name for name, told in SYSCTLS.items() if told.default == "gone"} == GONE.keys()


def test_the_defaults_are_those_that_a_misfit_is_measured_by() -> None:
    assert {name: SYSCTLS[name].default for name in DEFAULTS} == {name: str(value) for name, value in DEFAULTS.items()}


@pytest.mark.parametrize("state", State)
def test_a_sysctl_that_a_state_names_is_explained(state: State) -> None:
    names = re.findall(r"net\.[\w.]*\w", STATES[state].sysctl)
    assert [name for name in names if name not in SYSCTLS] == []
