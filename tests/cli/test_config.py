import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest

from sockwatch.cli.config import example, meanings, schema
from sockwatch.diagnose.registry import load_detectors

Run = Callable[..., tuple[int, str, str]]
DEFAULTS = {code: detector.settings for code, detector in load_detectors().items()}
EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def uncommented(text: str) -> str:
    return re.sub(r"^# ", "", text, flags=re.MULTILINE)


def test_the_example_file_is_what_the_program_prints(run: Run, golden: Callable[[str, str], None]) -> None:
    golden("../../config.example.toml", run("config", "example")[1])


def test_the_example_changes_nothing_as_it_is() -> None:
    assert tomllib.loads(EXAMPLE.read_text()) == {}


def test_the_example_uncommented_is_every_default() -> None:
    tree = tomllib.loads(uncommented(example(DEFAULTS)))
    assert tree == {"detectors": {code: asdict(settings) for code, settings in DEFAULTS.items()}}


def test_the_example_uncommented_is_a_right_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(uncommented(EXAMPLE.read_text()))
    assert run("config", "check", "--config", str(path)) == (0, f"{path}: ok\n", "")


@pytest.mark.parametrize("code", DEFAULTS)
def test_every_key_says_what_it_means(code: str) -> None:
    assert set(asdict(DEFAULTS[code])) <= set(meanings(type(DEFAULTS[code])))


def test_the_schema_takes_the_defaults_and_refuses_what_the_program_refuses(run: Run) -> None:
    printed = json.loads(run("config", "schema")[1])
    assert printed == schema(DEFAULTS)
    jsonschema.Draft202012Validator.check_schema(printed)
    validator = jsonschema.Draft202012Validator(printed)
    assert validator.is_valid({"detectors": {code: asdict(settings) for code, settings in DEFAULTS.items()}})
    assert not validator.is_valid({"x": 1})
    assert not validator.is_valid({"detectors": {"x": {}}})
    assert not validator.is_valid({"detectors": {"close_wait_leak": {"min_age": "1"}}})


def test_show_is_a_right_file_and_names_what_differs(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[detectors.close_wait_leak]\nmin_age = 5\n")
    code, out, _ = run("config", "show", "--config", str(path))
    assert code == 0
    assert "min_age = 5.0  # default: 60.0\n" in out
    assert tomllib.loads(out)["detectors"]["close_wait_leak"] == {"min_age": 5.0}


def test_a_wrong_file_is_told_and_the_answer_is_no(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[detectors.close_wait_leek]\n")
    code, out, err = run("config", "check", "--config", str(path))
    assert (code, err) == (1, "")
    assert out == f"{path}:1: unknown detector detectors.close_wait_leek; did you mean close_wait_leak?\n"
    assert run("config", "show", "--config", str(path))[0] == 3


def test_a_file_that_cannot_be_read_is_no_answer(run: Run, tmp_path: Path) -> None:
    assert run("config", "check", "--config", str(tmp_path / "none.toml"))[0] == 3
