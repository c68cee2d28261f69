"""Which tests can run here, and golden files.

`@pytest.mark.needs_program("ss")` and `@pytest.mark.needs_root` skip with the reason. With CI=true a skip is a failure,
unless its reason starts with one of ACCEPTED_SKIPS: what no package can bring.
"""

import os
import shutil
import signal
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
ACCEPTED_SKIPS = ("kernel: ", "python: ", "systemd: ")


def _packages() -> Mapping[str, str]:
    """Each program of debian-packages.txt with the package that brings it."""
    lines = (TESTS / "debian-packages.txt").read_text().splitlines()
    named = [line.split() for line in lines if not line.startswith("#")]
    return {program: package for package, *programs in named for program in programs}


PACKAGES = _packages()


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; hypothesis keeps nothing; Ctrl-C ends what tests start.

    Who is started in the background of a shell without job control ignores SIGINT, and so would all programs started
    from here (POSIX.1-2017, XCU 2.11).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("sockwatch", database=None)  # no files: the tree may be somebody else's
    settings.load_profile("sockwatch")
    config.addinivalue_line("markers", "needs_program(name, ...): programs listed in debian-packages.txt")
    config.addinivalue_line("markers", "needs_root: what the kernel lets only root do")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register --update-golden."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here."""
    for marker in item.iter_markers("needs_program"):
        for program in marker.args:
            if program not in PACKAGES:
                pytest.fail(f"{program}: name it and its package in tests/debian-packages.txt", pytrace=False)
            if shutil.which(program) is None:
                pytest.skip(f"no {program} (Debian package {PACKAGES[program]})")
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Refuse a skipped test in CI."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse a skipped module in CI."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not (report.skipped and os.environ.get("CI") == "true" and isinstance(report.longrepr, tuple)):
        return
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    if not reason.startswith(ACCEPTED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"in CI nothing is skipped for this reason: {reason}"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(NAME, text)` holds `text` against tests/golden/NAME, or writes it there with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = TESTS / "golden" / name
        if request.config.getoption("update_golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
