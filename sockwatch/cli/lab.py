"""`sockwatch lab`: provokes a misbehaviour for real in a private network namespace, and shows what sockwatch says."""

import argparse
import json
import os
import textwrap
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sockwatch.cli.output import emit, is_terminal, wants_colour
from sockwatch.cli.parser import one_of, seconds, terminal_width
from sockwatch.errors import ProvokeError, UsageError
from sockwatch.nearest import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockwatch.cli.parser import Parser
    from sockwatch.cli.progress import StatusLine
    from sockwatch.lab.performance import Performance
    from sockwatch.lab.scenario import Scenario
    from sockwatch.lab.stage import Stage

AS_DECLARED, DIFFERS, NOT_PROVOKED = 0, 1, 3
EVERY = "all"
MIN_AGE = 1
WHO_WIDTH = 17

_EPILOG = """\
exit code: 0 the findings are those that the scenario declares, 1 they differ, 3 it could not be provoked here

Nothing touches the host's own network. An ordinary user needs unprivileged user namespaces.
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "lab", help="provoke a misbehaviour for real, in a private namespace", epilog=_EPILOG
    )
    add = parser.add_argument
    add("action", type=one_of("list", "run"), metavar="list | run", help="list the scenarios, or run one")
    add("name", nargs="?", metavar="NAME", help="the scenario to run, or all")
    add("--keep", type=seconds, metavar="SECONDS", help="leave the stage standing for so long afterwards")
    add("--json", action="store_true", help="print one JSON object a scenario")
    add(
        "--family",
        type=one_of("ipv4", "ipv6", "mapped"),
        default="ipv4",
        metavar="FAMILY",
        help="ipv4 (default), ipv6, or mapped (IPv4 towards a server on ::)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List, or run and compare with what was declared. Raises UsageError and ProvokeError."""
    from sockwatch.lab.registry import load_scenarios

    scenarios = load_scenarios()
    if options.action == "list":
        if options.name is not None:
            raise UsageError(f'"{options.name}" is one word too many: `sockwatch lab list` lists every scenario')
        emit("".join(_listed(scenario) for scenario in scenarios.values()))
        return AS_DECLARED
    if options.name is None:
        raise UsageError("which scenario? `sockwatch lab list` lists them, `sockwatch lab run all` runs every one")
    if options.name == EVERY:
        return _run_all(list(scenarios.values()), options)
    if options.name not in scenarios:
        variants = [name for name in scenarios if name.startswith(f"{options.name}/")]
        if variants:
            raise UsageError(f"which one? {', '.join(variants)}")
        raise UsageError(unknown("scenario", options.name, (*scenarios, EVERY)))
    return _run_one(scenarios[options.name], options)


def _listed(scenario: "Scenario") -> str:
    story = textwrap.wrap(scenario.story, terminal_width() - 4)
    return f"{scenario.name}\n" + "".join(f"    {line}\n" for line in story)


def _run_all(scenarios: "list[Scenario]", options: argparse.Namespace) -> int:
    from sockwatch.cli.progress import StatusLine

    if options.keep:
        raise UsageError("--keep leaves one stage standing: name one scenario")
    width = max(len(scenario.name) for scenario in scenarios)
    if not options.json:
        emit(f"{'NAME':<{width}}  {'DECLARED':<20}  {'FOUND':<20}  VERDICT\n")
    with StatusLine(wanted=not options.json) as line:
        return _run_each(scenarios, options, width, line)


def _run_each(scenarios: "list[Scenario]", options: argparse.Namespace, width: int, line: "StatusLine") -> int:
    worst = AS_DECLARED
    for number, scenario in enumerate(scenarios, 1):
        line.show(f"{number} of {len(scenarios)}: {scenario.name}")
        declared = _by_severity(expected.severity for expected in scenario.expected)
        try:
            result = _play(scenario, options, told=False)
        except ProvokeError as error:
            worst = NOT_PROVOKED
            result = {"name": scenario.name, "ok": False, "error": str(error)}
            found, verdict = "-", f"not provoked: {error}"
        else:
            found = _by_severity(finding["severity"] for finding in result["found"])
            verdict = "as declared" if result["ok"] else "; ".join(_differences(result))
            worst = max(worst, AS_DECLARED if result["ok"] else DIFFERS)
        line.erase()
        if options.json:
            emit(json.dumps(result) + "\n")
        else:
            emit(f"{scenario.name:<{width}}  {declared:<20}  {found:<20}  {verdict}\n")
    return worst


def _by_severity(severities: "Iterable[str]") -> str:
    counts = Counter(severities)
    names = ("critical", "warning", "info")
    return ", ".join(f"{counts[name]} {name}" for name in names if counts[name]) or "nothing"


def _run_one(scenario: "Scenario", options: argparse.Namespace) -> int:
    result = _play(scenario, options, told=not options.json)
    return AS_DECLARED if result["ok"] else DIFFERS


def _play(scenario: "Scenario", options: argparse.Namespace, *, told: bool) -> dict[str, Any]:
    """On a busy machine a stray ACK can end a TIME_WAIT, and the scene is set in vain: then it is set once more."""
    from sockwatch.lab.isolation import isolated

    try:
        return isolated(lambda: _on_stage(scenario, options, told=told))
    except ProvokeError as error:
        if not error.by_chance:
            raise
        if told:
            emit(f"\n{error}: once more\n\n")
    return isolated(lambda: _on_stage(scenario, options, told=told))


def _on_stage(scenario: "Scenario", options: argparse.Namespace, *, told: bool) -> dict[str, Any]:
    from sockwatch.cli.progress import StatusLine
    from sockwatch.clock import SystemClock
    from sockwatch.lab.actor import Family
    from sockwatch.lab.performance import perform
    from sockwatch.lab.stage import Stage

    def tell(who: str | None, what: str) -> None:
        if told:
            line.erase()
            emit(_told(who, what))
            line.show("at work")

    with StatusLine(wanted=told) as line, Stage(clock=SystemClock(), tell=tell, family=Family(options.family)) as stage:
        tell(None, f"{scenario.name}: {scenario.story}")
        performance = perform(scenario, stage)
        line.erase()
        result = _result(scenario, performance, stage)
        if told:
            _show(performance, result)
        elif options.json and options.name != EVERY:
            emit(json.dumps(result) + "\n")
        if options.keep:
            if told:
                emit(_how_to_look(options.keep, in_user_namespace=stage.in_user_namespace))
            stage.clock.wait(options.keep)
    return result


def _told(who: str | None, what: str) -> str:
    """Sentences as a paragraph of their own, what somebody did beside his name."""
    if who is None:
        return "\n" + textwrap.fill(what, terminal_width()) + "\n\n"
    indent = " " * WHO_WIDTH
    lines = textwrap.fill(what, terminal_width(), initial_indent=f"{who:<{WHO_WIDTH}}", subsequent_indent=indent)
    return f"{lines}\n"


def _result(scenario: "Scenario", performance: "Performance", stage: "Stage") -> dict[str, Any]:
    from sockwatch.export.json_report import finding_object
    from sockwatch.model.printable import printable

    return {
        "name": scenario.name,
        "family": stage.family.value,
        "ok": performance.as_declared,
        "declared": [asdict(expected) for expected in scenario.expected],
        "found": [finding_object(finding) for finding in performance.report.findings],
        "gaps": [
            {"what": printable(g.what), "why": printable(g.why), "count": g.count} for g in performance.report.gaps
        ],
        "missing": [str(expected) for expected in performance.missing],
        "surplus": [str(expected) for expected in performance.surplus],
        "pids": {"stage": os.getpid(), **stage.pids},
    }


def _differences(result: dict[str, Any]) -> list[str]:
    return [f"declared, not found: {line}" for line in result["missing"]] + [
        f"found, not declared: {line}" for line in result["surplus"]
    ]


def _show(performance: "Performance", result: dict[str, Any]) -> None:
    from sockwatch.export.terminal import render_report

    emit(f"\nsockwatch check --min-age {MIN_AGE}, in there:\n\n")
    emit(render_report(performance.report, width=terminal_width(), colour=wants_colour(), one_screen=is_terminal()))
    emit("\nas declared\n" if result["ok"] else "\n" + "".join(f"{line}\n" for line in _differences(result)))


def _how_to_look(seconds: float, *, in_user_namespace: bool) -> str:
    pid = os.getpid()
    enter = f"nsenter --target {pid} --net"
    check = f"sockwatch check --min-age {MIN_AGE}"
    if in_user_namespace:
        enter += " --user --preserve-credentials"
        check = f"{enter} {check}"
    else:
        check += f" --netns /proc/{pid}/ns/net"
    return (
        f"\nThe stage stands for {seconds:g} s more (Ctrl-C ends it). From another terminal:\n"
        f"  {check}\n  {enter} ss -tanp\n"
    )
