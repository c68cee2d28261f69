"""The state on disk is whole at any moment, and what is not ours is not read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.alerts.looks import Looker
from reports import leak, overflow
from sockwatch.export.alerts import state_file
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.alerts.state_file import ForeignError
from sockwatch.export.alerts.tracked import Memory
from sockwatch.model.settings import AlertSettings

KILLS = 200
KILLER = """
import itertools, os, signal, sys, time
from pathlib import Path
from sockwatch.export.alerts import state_file
path = Path(sys.argv[1])
small, large = (state_file.read(path.with_name(name)) for name in ("one", "two"))
for number in range(int(sys.argv[2])):
    ready, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, b".")
        for memory in itertools.cycle((small, large)):
            state_file.write(path, memory)
    os.read(ready, 1)
    deadline = time.monotonic() + number % 50 * 0.0001
    while time.monotonic() < deadline:
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready), os.close(write)
    left = path.with_name(".alerts.json.new").exists()
    read = state_file.read(path)
    assert read in (small, large, state_file.Memory()), read
    assert not path.with_name(".alerts.json.new").exists()
    print(len(read.alerts), left)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.json"


def memory_of(*findings: object, path: Path) -> Memory:
    looker = Looker(book=AlertBook(AlertSettings(), path))
    for _ in range(4):
        looker.see(*findings)  # type: ignore[arg-type]  # findings, given as they come
    looker.book.save()
    memory = state_file.read(path)
    path.unlink()
    return memory


def test_reads_what_it_wrote(path: Path) -> None:
    memory = memory_of(leak(), overflow(), path=path)
    state_file.write(path, memory)
    assert state_file.read(path) == memory
    assert len(memory.alerts) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_there_at_first(path: Path) -> None:
    assert state_file.read(path) == Memory()


def test_a_reader_never_finds_half_of_it_however_often_the_writer_is_killed(path: Path) -> None:
    small, large = memory_of(leak(), path=path), memory_of(leak(), overflow(), path=path)
    state_file.write(path.with_name("one"), small)
    state_file.write(path.with_name("two"), large)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(path), str(KILLS)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    seen = done.stdout.splitlines()
    assert len(seen) == KILLS
    assert {line.split()[0] for line in seen} >= {"1", "2"}
    assert any(line.endswith("True") for line in seen)  # some were killed in the middle of it


def test_cut_off_anywhere_it_is_refused(path: Path) -> None:
    data = state_file.encode(memory_of(leak(), path=path))
    for length in range(len(data)):
        with pytest.raises(ForeignError):
            state_file.decode(data[:length])


def test_with_any_byte_changed_it_is_read_or_refused(path: Path) -> None:
    data = state_file.encode(memory_of(leak(), path=path))
    refused = 0
    for place in range(len(data)):
        for bit in (0x01, 0x10, 0x80):
            changed = bytearray(data)
            changed[place] ^= bit
            try:
                state_file.decode(bytes(changed))
            except ForeignError:
                refused += 1
    assert refused > len(data) / 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{" * 100_000,
        b'{"alerts":' + b"[" * 100_000,
        b'{"version":2,"alerts":[]}',
        b'{"version":"1","alerts":[]}',
        b'{"version":1}',
        b'{"version":1,"alerts":[{}]}',
        b'{"version":1,"alerts":{}}',
        b"\xff\xfe",
    ],
)
def test_what_it_did_not_write_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ForeignError):
        state_file.read(path)


def test_a_later_release_of_the_same_version_may_add_keys(path: Path) -> None:
    memory = memory_of(leak(), path=path)
    added = state_file.encode(memory).replace(b'{"version":1', b'{"new":[1],"version":1')
    assert state_file.decode(added.replace(b'"present":', b'"newer":null,"present":')) == memory


def test_too_large_a_file_is_refused_without_reading_it(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(ForeignError, match="larger"):
        state_file.read(path)


def test_what_is_no_file_of_ours_is_refused(path: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    state_file.write(good, Memory())
    path.symlink_to(good)
    with pytest.raises(ForeignError):
        state_file.read(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ForeignError, match="regular"):
        state_file.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ForeignError):
        state_file.read(path)
    path.rmdir()
    path.hardlink_to(good)
    with pytest.raises(ForeignError, match="name"):
        state_file.read(path)
    good.unlink()
    path.chmod(0o620)
    with pytest.raises(ForeignError, match="others"):
        state_file.read(path)


@pytest.mark.needs_root
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    state_file.write(path, Memory())
    os.chown(path, 65534, 65534)
    with pytest.raises(ForeignError, match="65534"):
        state_file.read(path)


def test_a_symlink_where_the_new_file_goes_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".alerts.json.new").symlink_to(victim)
    state_file.write(path, Memory())
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
