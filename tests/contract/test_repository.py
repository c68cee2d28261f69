"""What the files of the project promise one another."""

import re
import tomllib
from importlib import metadata

import sockwatch
from contract.repository import ROOT, project_files
from sockwatch.model.sockets import COLUMN_TYPES, SocketTable

TEXT = {".py", ".md", ".toml", ".txt", ".json", ".service", ".timer", ".conf", ""}


def test_one_version() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["version"] == sockwatch.__version__
    assert f"## [{sockwatch.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_dependencies_are_locked() -> None:
    for name in ("run.txt", "dev.txt"):
        lock = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
        assert {"msgspec", "numpy", "prometheus-client", "psutil", "pyroute2"} <= pinned
        assert "://" not in lock


def test_a_socket_table_has_the_columns_of_captures() -> None:
    assert list(SocketTable.__slots__) == [*COLUMN_TYPES, "details"]


def test_no_file_knows_where_this_checkout_is() -> None:
    here = re.compile(rf"(?<![\w.]){re.escape(str(ROOT))}(?![\w-])|/home/\w+|/root/\w+")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in project_files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if here.search(line)
    ]
    assert not found


def test_no_text_has_long_dashes_or_trailing_space() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in project_files()
        if path.suffix in TEXT and path.name != "LICENSE"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "\N{EM DASH}" in line or line != line.rstrip()
    ]
    assert not found


def test_installed_as_the_command_sockwatch() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="sockwatch")
    assert script.value == "sockwatch.__main__:main"
