from dataclasses import replace

import pytest

from builders import namespace, window
from sockwatch.diagnose.detectors.sysctl_misfit import DETECTOR
from sockwatch.diagnose.misfits.gone import GONE
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Namespace, SysctlSetting

RECYCLE = SysctlSetting(name="net.ipv4.tcp_tw_recycle", value="1", file="/etc/sysctl.d/99-{tuning}.conf", line=7)


def detect(*settings: SysctlSetting, at: Namespace | None = None) -> list[Finding]:
    seen = window(namespaces=[at or namespace()])
    seen = Window(current=replace(seen.current, sysctl_files=settings))
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_what_a_file_sets_and_the_kernel_no_longer_has() -> None:
    [finding] = detect(RECYCLE)
    assert (finding.name, finding.severity, finding.count) == ("sysctl_misfit", Severity.INFO, 0)
    assert (finding.subject.netns, finding.subject.local, finding.sockets) == ("host", None, ())
    assert finding.summary == "Sysctl tcp_tw_recycle in /etc/sysctl.d/99-{tuning}.conf, line 7, is gone"
    assert "4.12" in finding.cause
    assert finding.remedies == ("Remove the line from /etc/sysctl.d/99-{tuning}.conf.",)
    assert [(a.name, a.value, a.effect) for a in finding.sysctls] == [(RECYCLE.name, "1", Effect.NONE)]


@pytest.mark.parametrize("name", GONE)
def test_each_of_them_is_noticed(name: str) -> None:
    [finding] = detect(replace(RECYCLE, name=name))
    assert GONE[name] in finding.cause


def test_several_lines_are_one_finding() -> None:
    [finding] = detect(RECYCLE, replace(RECYCLE, name="net.ipv4.tcp_thin_dupack", line=8))
    assert [a.name for a in finding.sysctls] == [RECYCLE.name, "net.ipv4.tcp_thin_dupack"]
    assert "line 7, is gone; tcp_thin_dupack in" in finding.summary


def test_what_this_kernel_still_has_is_not_gone() -> None:
    assert not detect(RECYCLE, at=namespace(tcp_tw_recycle="0"))


def test_what_is_absent_for_want_of_a_module_is_not_gone() -> None:
    absent = replace(RECYCLE, name="net.bridge.bridge-nf-call-iptables")
    assert not detect(absent, replace(RECYCLE, name="net.ipv4.tcp_fin_timeout"))


def test_the_files_are_those_of_the_host_not_of_another_namespace() -> None:
    assert not detect(RECYCLE, at=namespace("web"))
