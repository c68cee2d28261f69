import os
from pathlib import Path

import pytest

from sockwatch.cli.history import SYSTEM, history_file
from sockwatch.daemon.state_directory import StateDirectory, state_directory
from sockwatch.errors import UsageError
from sockwatch.export.history.reader import FILE


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/jo")
    systemd = {"STATE_DIRECTORY": "/var/lib/sockwatch:/var/lib/other"}
    assert state_directory("/srv/state", systemd) == Path("/srv/state")
    assert state_directory("", systemd) == Path("/var/lib/sockwatch")
    assert state_directory("", {"XDG_STATE_HOME": "/s"}) == Path("/s/sockwatch")
    for environment in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
        assert state_directory("", environment) == Path("/users/jo/.local/state/sockwatch")


def test_who_has_no_home_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that was started with --user."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 19)
    assert state_directory("", {}) is None
    assert state_directory("/srv/state", {}) == Path("/srv/state")
    config = tmp_path / "config.toml"
    config.touch()
    assert history_file(config) == SYSTEM / FILE


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "a" / "b")
    assert state.path == tmp_path / "a" / "b"
    assert state.path.stat().st_mode & 0o777 == 0o700
    state.release()


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = StateDirectory(path)
    with pytest.raises(UsageError, match="another sockwatch keeps its state there"):
        StateDirectory(path)
    state.release()
    StateDirectory(path).release()


def test_a_link_to_it_leads_to_the_same_lock(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "private")
    (tmp_path / "link").symlink_to(tmp_path / "private")
    with pytest.raises(UsageError):
        StateDirectory(tmp_path / "link")
    state.release()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o1777])
def test_one_that_others_may_use_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(PermissionError, match="chmod 700"):
        StateDirectory(path)
    assert path.stat().st_mode & 0o7777 == mode


@pytest.mark.needs_root
def test_one_of_another_user_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to user 65534, not to 0"):
        StateDirectory(path)


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling", "file/below"):
        with pytest.raises(OSError, match=r"."):
            StateDirectory(tmp_path / name)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    (path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"."):
        StateDirectory(path)
    assert not (tmp_path / "victim").exists()


def test_a_file_in_its_place_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.touch()
    with pytest.raises(NotADirectoryError, match="is not a directory"):
        StateDirectory(path)
