from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from sockwatch.config import load
from sockwatch.config.lines import key_lines
from sockwatch.diagnose.detector import Settings
from sockwatch.errors import ConfigError, UsageError
from sockwatch.model.settings import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Every(Settings):
    share: float = 0.5
    count: int = 20
    strict: bool = False
    name: str = "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Settings):
    share: Share = 0.5


DEFAULTS = {"leak": Settings(), "every": Every(), "part": Part()}


def problems(text: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, DEFAULTS)
    return [line.removeprefix(str(path)) for line in caught.value.mistakes]


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    assert load(path, DEFAULTS).detectors == DEFAULTS


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[detectors.every]\nmin_age = 5\ncount = 7\nstrict = true\nname = "y"\n')
    settings = load(path, DEFAULTS).detectors
    assert settings["leak"] == Settings()
    assert settings["every"] == Every(min_age=5.0, count=7, strict=True, name="y")
    assert isinstance(settings["every"].min_age, float)


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
top = 1

[detectors.every]
min_age = true      # python would take it for 1
share = "much"
count = 1.5
strict = 1
name = 5
shore = 0.5

[detectors.leek]
min_age = 1
[detectors]
leak = 3
"""
    assert problems(text, tmp_path) == [
        ":1: unknown key top; valid: poll, web, metrics, alerts, sinks, history, state_directory, detectors",
        ":4: detectors.every.min_age must be a number, not true",
        ':5: detectors.every.share must be a number, not the string "much"',
        ":6: detectors.every.count must be a whole number, not 1.5",
        ":7: detectors.every.strict must be true or false, not 1",
        ":8: detectors.every.name must be a string, not 5",
        ":9: unknown key detectors.every.shore; did you mean share?",
        ":11: unknown detector detectors.leek; did you mean leak?",
        ":14: detectors.leak is a table: [detectors.leak]",
    ]


@pytest.mark.parametrize("value", ["-1", "-0.5", "nan", "-inf"])
def test_a_threshold_is_a_number_from_0(value: str, tmp_path: Path) -> None:
    (problem,) = problems(f"[detectors.leak]\nmin_age = {value}\n", tmp_path)
    assert problem.startswith(":2: detectors.leak.min_age must be 0 or more")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("detectors.leak.min_agee = 1", 1),
        ("\ndetectors = { leak = { min_agee = 1 } }", 2),
        ('\n\n["detectors".leak]\n\n"min_agee" = 1', 5),
        ("[detectors]\nleak.min_agee = 1", 2),
    ],
)
def test_the_line_is_found_however_the_key_is_written(text: str, line: int, tmp_path: Path) -> None:
    assert problems(text, tmp_path) == [f":{line}: unknown key detectors.leak.min_agee; did you mean min_age?"]


@pytest.mark.parametrize(
    ("value", "wrong"), [("0", True), ("0.01", False), ("1", False), ("1.01", True), ("true", True)]
)
def test_a_share_is_a_part_of_a_whole(value: str, *, wrong: bool, tmp_path: Path) -> None:
    text = f"[detectors.part]\nshare = {value}\n"
    if not wrong:
        path = tmp_path / "config.toml"
        path.write_text(text)
        assert load(path, DEFAULTS).detectors["part"] == Part(share=float(value))
        return
    (problem,) = problems(text, tmp_path)
    assert problem.startswith(":2: detectors.part.share must be ")


def test_broken_toml_is_one_line_with_its_place(tmp_path: Path) -> None:
    (problem,) = problems("[detectors.leak]\nmin_age = = 3\n", tmp_path)
    assert problem == ":2: Invalid value (column 11)"


@pytest.mark.parametrize(("data", "problem"), [(b"a = 1\nb = '\xff'\n", ":2: not UTF-8"), (b"#" * 2_000_000, "MiB")])
def test_a_file_of_another_kind_is_refused(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=problem):
        load(path, DEFAULTS)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml", DEFAULTS)


def test_a_key_with_a_line_break_forges_no_line(tmp_path: Path) -> None:
    assert len(problems('[detectors.leak]\n"a\\nb" = 1\n', tmp_path)) == 1


@given(st.text())
def test_the_scan_for_lines_survives_any_text(text: str) -> None:
    assert all(1 <= line <= len(text.splitlines()) for line in key_lines(text).values())
