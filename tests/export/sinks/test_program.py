import os
from pathlib import Path

import pytest

from sockwatch.errors import UsageError
from sockwatch.export.sinks.program import opened_program


def refusal(path: Path | str) -> str:
    with pytest.raises(UsageError) as refused, opened_program(str(path)):
        pass
    return str(refused.value)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "hook"
    path.parent.mkdir(mode=0o755)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_is_opened_wherever_links_lead(program: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").symlink_to("bin/../bin")
    (tmp_path / "absolute").symlink_to(program)
    for path in (program, tmp_path / "folder" / "hook", tmp_path / "absolute", tmp_path / "bin" / ".." / "absolute"):
        with opened_program(str(path)) as opened:
            assert os.fstat(opened).st_ino == program.stat().st_ino
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened)


def test_what_is_not_there_or_no_program(program: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    assert refusal(program / "x") == f"{program}/x: Not a directory"
    assert refusal(program.parent) == f"{program.parent}: not a program"
    program.chmod(0o644)
    assert refusal(program) == f"{program}: not executable"


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert refusal(tmp_path / "a") == f"{tmp_path}/a: Too many levels of symbolic links"


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_program_that_others_may_write(program: Path, mode: int) -> None:
    program.chmod(mode)
    assert refusal(program) == f"{program}: others may write to it (mode {mode:04o})"


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_a_folder_that_others_may_write(program: Path, tmp_path: Path, mode: int) -> None:
    (tmp_path / "link").symlink_to(program)
    program.parent.chmod(mode)
    told = f"{program.parent}: others may write to it (mode {mode:04o})"
    assert refusal(program) == told
    assert refusal(tmp_path / "link") == told, "not the link alone, also where it leads through"


def test_in_a_sticky_folder_others_cannot_replace_what_is_ours(program: Path) -> None:
    program.parent.chmod(0o1777)
    with opened_program(str(program)):
        pass


@pytest.mark.needs_root
def test_what_belongs_to_others(program: Path) -> None:
    os.chown(program, 65534, 0)
    assert refusal(program) == f"{program}: belongs to user 65534, who could change what runs"
    os.chown(program, 0, 0)
    os.chown(program.parent, 65534, 0)
    assert refusal(program) == f"{program.parent}: belongs to user 65534, who could change what runs"


def test_what_was_opened_stays_what_it_is(program: Path) -> None:
    """Looked at by its descriptor: what takes the name meanwhile is another file."""
    with opened_program(str(program)) as opened:
        inode = program.stat().st_ino
        other = program.with_name("other")
        other.write_text("#!/bin/sh\nexit 9\n")
        other.rename(program)
        assert os.fstat(opened).st_ino == inode != program.stat().st_ino
