import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from sockwatch.config import Config, load
from sockwatch.diagnose.detector import Settings
from sockwatch.errors import ConfigError, UsageError
from sockwatch.model.constraint import Share
from sockwatch.writers import others_who_write

HEAVY = {
    "asyncio",
    "sockwatch.config.document",
    "prometheus_client",
    "sqlite3",
    "ssl",
    "starlette",
    "urllib3",
    "uvicorn",
    "yaml",
}


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


def problems(text: str | bytes, folder: Path) -> list[str]:
    path = folder / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load(path, DEFAULTS)
    return [line.removeprefix(str(path)) for line in caught.value.mistakes]


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    assert load(path, DEFAULTS) == Config(detectors=DEFAULTS)


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[poll]\ninterval = 5\n[detectors.every]\nmin_age = 5\ncount = 7\nstrict = true\nname = "y"\n')
    config = load(path, DEFAULTS)
    assert config.detectors["leak"] == Settings()
    assert config.detectors["every"] == Every(min_age=5.0, count=7, strict=True, name="y")
    assert isinstance(config.detectors["every"].min_age, float)
    assert config.daemon.poll.interval == 5
    assert isinstance(config.daemon.poll.interval, float)
    assert config.daemon.web == Config(detectors={}).daemon.web


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
[pol]
[poll]
intervall = 5
namespaces = ""
[sinks.pager]
type = "exek"
[[alerts.silences]]
code = "leak"
[[alerts.silences]]
code = "leek"
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
        ":15: unknown key pol; did you mean poll?",
        ":17: unknown key poll.intervall; did you mean interval?",
        ':18: poll.namespaces must be "all", "current", a name in /run/netns, or an absolute path, not the string ""',
        ':20: sinks.pager.type must be one of exec, webhook, alertmanager, not the string "exek"; did you mean exec?',
        (
            ":24: alerts.silences.code must be the code of a finding, or a pattern that matches one, "
            'not the string "leek"; did you mean leak?'
        ),
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[detectors.leak]\nmin_age = = 3\n", ":2: Invalid value (column 11)"),
        ("[poll]\ninterval = 1\ninterval = 2\n", ":3: Cannot overwrite a value (column 13)"),
        ("[poll]\n[poll]\n", ":2: Cannot declare ('poll',) twice (column 6)"),
        ("a = " + "[" * 5000, ": nested too deep: this is no config file"),
        (f"[poll]\ninterval = {'9' * 5000}\n", ": a number in it has too many digits"),
        (f"[poll]\ninterval = 0x{'f' * 5000}\n", ":2: poll.interval must be at most 86400, not one of so many digits"),
        (f"[metrics]\ntop = {'9' * 400}\n", ":2: metrics.top must be at most 1000000000, not one of so many digits"),
        ("[history]\nmax_bytes = 5\n", ":2: history.max_bytes must be 1000000 or more, not 5"),
        (
            '[sinks.a]\ntype = "exec"\ncommand = ["true"]\n',
            (
                ":3: sinks.a.command must be a program, by its absolute path, and its arguments; "
                "the program's path is not absolute"
            ),
        ),
        ("[metrics]\ntop = 1e9\n", ":2: metrics.top must be a whole number, not 1000000000.0"),
        ("[detectors.leak]\nmin_age = inf\n", ":2: detectors.leak.min_age must be at most 1000000000000, not inf"),
        ("a." * 500_000 + "a = 1", ": nested too deep: this is no config file"),
        (b"a = 1\nb = '\xff'\n", ":2: not UTF-8"),
        (b"#" * 2_000_000, ": larger than 1 MiB"),
        (b"\x00", ":1: Invalid statement"),
    ],
    ids=range(15),
)
def test_what_is_no_config_is_one_clear_line(text: str | bytes, problem: str, tmp_path: Path) -> None:
    (found,) = problems(text, tmp_path)
    assert found.startswith(problem)
    assert len(found) < 200


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml", DEFAULTS)
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        others_who_write(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        load(tmp_path, DEFAULTS)


def test_a_key_with_a_line_break_forges_no_line_and_no_escape_reaches_the_terminal(tmp_path: Path) -> None:
    (problem,) = problems('[detectors.leak]\n"a\\nb\\u001b[2J" = 1\n', tmp_path)
    assert problem == r':1: unknown key detectors.leak."a\nb\x1b[2J"; valid: min_age'


NAMES = ["poll", "alerts", "silences", "sinks", "detectors", "leak", "for", "type", "url", "listen", "x y", "exec"]
VALUES = st.recursive(
    st.integers() | st.floats() | st.booleans() | st.text(max_size=5) | st.sampled_from(["exec", "webhook", "all"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)


def as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) <= 0xDFFF) + '"'
        case list():
            return f"[{', '.join(map(as_toml, value))}]"
        case dict():
            return "{" + ", ".join(f'"{key}" = {as_toml(item)}' for key, item in value.items()) + "}"
        case _:
            return str(value)


def mistakes(path: Path, data: bytes) -> tuple[str, ...]:
    path.write_bytes(data)
    try:
        load(path, DEFAULTS)
    except ConfigError as error:
        return error.mistakes or ("no mistake",)
    return ()


@settings(deadline=None)
@given(tree=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_any_tree_is_taken_or_its_mistakes_are_told(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.toml"
    text = "".join(f'"{key}" = {as_toml(value)}\n' for key, value in tree.items())
    found = mistakes(path, text.encode())
    assert all(mistake.startswith(f"{path}:") and mistake.isprintable() for mistake in found)


@settings(deadline=None)
@given(data=st.binary(max_size=60) | st.text("[]{}=.,\"'#\n a1_-", max_size=60).map(str.encode))
def test_any_bytes_are_taken_or_their_mistakes_are_told(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    assert all(mistake.startswith(f"{path}:") for mistake in mistakes(path, data))


@pytest.mark.parametrize(
    ("mode", "who"),
    [
        (0o600, None),
        (0o644, None),
        (0o664, f"the file may be written by group {os.getegid()}"),
        (0o646, "the file may be written by everybody"),
    ],
)
def test_a_file_that_others_may_write_is_refused_where_it_can_start_programs(
    mode: int, who: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    path.chmod(mode)
    assert others_who_write(path) == who
    assert load(path, DEFAULTS) == Config(detectors=DEFAULTS)
    if who is None:
        assert load(path, DEFAULTS, trusted=True) == Config(detectors=DEFAULTS)
        return
    with pytest.raises(ConfigError) as caught:
        load(path, DEFAULTS, trusted=True)
    (problem,) = caught.value.mistakes
    assert problem == f"{path}: {who}; it says which programs are started, so nobody else may write it"


def test_a_directory_in_which_others_may_replace_the_file_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    path = folder / "config.toml"
    path.write_text("")
    path.chmod(0o644)
    folder.chmod(0o777)
    assert others_who_write(path) == f"the directory {folder} may be written by everybody"
    (tmp_path / "link.toml").symlink_to(path)
    assert others_who_write(tmp_path / "link.toml") == f"the directory {folder} may be written by everybody"
    folder.chmod(0o1777)
    assert others_who_write(path) is None


@pytest.mark.needs_root
def test_the_file_of_another_user_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    path.chmod(0o644)
    os.chown(path, 65534, 65534)
    assert others_who_write(path) == "the file belongs to user 65534"


def test_a_file_of_root_is_trusted_by_every_user() -> None:
    path = Path("/etc/passwd")  # of root, and every user may read it
    assert others_who_write(path) is None


def test_to_read_a_config_nothing_heavy_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[poll]\ninterval = 5\n")
    program = (
        "import sys; from pathlib import Path; from sockwatch.config import load;"
        "load(Path(sys.argv[1]), {}); print(*sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert HEAVY & set(ended.stdout.split()) == set()
