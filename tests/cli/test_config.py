import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from sockwatch.config.schema import schema
from sockwatch.diagnose.registry import load_detectors

Run = Callable[..., tuple[int, str, str]]
DEFAULTS = {code: detector.settings for code, detector in load_detectors().items()}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    """`config(text)` writes a file that only we may write, and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    return write


def test_the_example_file_is_what_the_program_prints(run: Run, golden: Callable[[str, str], None]) -> None:
    golden("../../config.example.toml", run("config", "example")[1])


def test_the_schema_is_printed(run: Run) -> None:
    assert json.loads(run("config", "schema")[1]) == json.loads(json.dumps(schema(DEFAULTS)))


def test_show_is_a_right_file_and_names_what_differs(run: Run, config: Callable[[str], str]) -> None:
    path = config("[poll]\ninterval = 5\n[detectors.close_wait_leak]\nmin_age = 5\n")
    code, out, _ = run("config", "show", "--config", path)
    assert code == 0
    assert "min_age = 5.0  # default: 60.0\n" in out
    assert "interval = 5.0  # default: 10.0\n" in out
    assert out.count("# default:") == 2
    assert tomllib.loads(out)["detectors"]["close_wait_leak"] == {"min_age": 5.0}


def test_a_wrong_file_is_told_and_the_answer_is_no(run: Run, config: Callable[[str], str]) -> None:
    path = config("[detectors.close_wait_leek]\n")
    code, out, err = run("config", "check", "--config", path)
    assert (code, err) == (1, "")
    assert out == f"{path}:1: unknown detector detectors.close_wait_leek; did you mean close_wait_leak?\n"
    assert run("config", "show", "--config", path)[0] == 3


def test_check_looks_at_the_sinks_too(run: Run, config: Callable[[str], str]) -> None:
    sinks = (
        '[sinks.hook]\ntype = "exec"\ncommand = ["/no/such/hook"]\n[sinks.chat]\ntype = "webhook"\n'
        '[sinks.odd]\ntype = "webhook"\nurl = "http://a..b/"\n[sinks.right]\ntype = "webhook"\nurl = "http://a/"\n'
    )
    path = config(sinks)
    code, out, err = run("config", "check", "--config", path)
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        f"{path}: sinks.hook.command: /no/such/hook: No such file or directory",
        f"{path}: sinks.chat.url: one of url and url_file must be set",
        f"{path}: sinks.odd.url: not a URL: no host has such a name",
    ]


def test_a_file_that_cannot_be_read_is_no_answer(run: Run, tmp_path: Path) -> None:
    assert run("config", "check", "--config", str(tmp_path / "none.toml"))[0] == 3


def test_check_warns_of_a_file_that_others_may_write(run: Run, config: Callable[[str], str]) -> None:
    path = config("")
    assert run("config", "check", "--config", path) == (0, f"{path}: ok\n", "")
    Path(path).chmod(0o646)
    assert run("config", "check", "--config", path) == (
        0,
        f"{path}: ok\n{path}: the file may be written by everybody: sockwatch run refuses this file\n",
        "",
    )
