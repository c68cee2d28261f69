import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from export.small_disk import on_small_disk
from sockwatch.export.state_file import StateFile

KILLED = """
import sys
from pathlib import Path
from sockwatch.export.state_file import StateFile
file = StateFile(Path(sys.argv[1]), "state.json", most_bytes=1 << 20)
number = 0
while True:
    number += 1
    file.write(b"%d\\n" % number * 5000)
    print(number, flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path, "state.json", most_bytes=1000)


def test_what_was_written_last_is_read(file: StateFile) -> None:
    assert file.read() is None
    file.write(b"one")
    file.write(b"two")
    assert file.read() == b"two"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [*file.path.parent.iterdir()] == [file.path]


def test_it_stays_within_its_size(file: StateFile) -> None:
    file.write(b"x" * 1000)
    with pytest.raises(OSError, match="larger than 1000 bytes"):
        file.write(b"x" * 1001)
    file.path.write_bytes(b"x" * 1001)
    with pytest.raises(ValueError, match="larger than 1000 bytes"):
        file.read()


@pytest.mark.parametrize("what", ["link", "fifo", "socket", "folder", "second name", "writable"])
def test_what_is_no_file_of_ours_is_not_read(file: StateFile, tmp_path: Path, what: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"secret")
    match what:
        case "link":
            file.path.symlink_to(other)
        case "fifo":
            os.mkfifo(file.path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(file.path))
        case "folder":
            file.path.mkdir()
        case "second name":
            file.path.hardlink_to(other)
        case _:
            file.path.write_bytes(b"")
            file.path.chmod(0o602)
    with pytest.raises(ValueError, match=r"symbolic links|No such device|regular file|second name"):
        file.read()
    assert file.set_aside() == tmp_path / "state.json.corrupt"
    file.write(b"anew")
    assert (file.read(), other.read_bytes()) == (b"anew", b"secret")


def test_a_file_that_cannot_be_opened_now_is_not_said_to_be_another_s(file: StateFile) -> None:
    file.write(b"old")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, most[1]))  # enough for the folder
    try:
        with pytest.raises(OSError, match="Too many open files"):
            file.read()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert file.read() == b"old"


def test_what_a_killed_writer_left_is_cleared_away(file: StateFile) -> None:
    file.write(b"old")
    left = file.path.with_name("state.json.tmp")
    left.write_bytes(b"half")
    assert file.read() == b"old"
    assert not left.exists()
    left.symlink_to("/dev/null")
    file.write(b"new")
    assert file.path.read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_nothing_in_the_way(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from sockwatch.export.state_file import StateFile

def main():
    file = StateFile(Path({str(tmp_path)!r}), "state.json", most_bytes=1 << 20)
    file.write(b"old")
    fill()
    try:
        file.write(bytes(20000))
    except OSError as error:
        print(error.strerror)
    print(file.read(), sorted(os.listdir({str(tmp_path)!r})))
    free()
    file.write(bytes(20000))
    print(len(file.read()))
"""
    out = on_small_disk(tmp_path, script)
    assert out.splitlines() == ["No space left on device", "b'old' ['filler', 'state.json']", "20000"]


def test_killed_at_any_time_the_file_is_whole(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "state.json", most_bytes=1 << 20)
    for round_ in range(12):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            said = 0
            for _ in range(3 + round_):
                said = int(writer.stdout.readline())
            writer.kill()
        numbers = (file.read() or b"").splitlines()
        assert len(numbers) == 5000
        assert int(numbers[0]) >= said
        assert {*numbers} == {numbers[0]}
