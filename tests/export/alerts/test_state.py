"""The state is whole at any moment, and what is not ours is not read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.alerts.looks import Looker
from reports import leak, overflow
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.alerts.state import decode, encode
from sockwatch.export.alerts.tracked import Memory
from sockwatch.model.finding import Finding
from sockwatch.model.settings import AlertSettings

KILLS = 100
KILLER = """
import os, signal, sys, time
from pathlib import Path
from export.alerts.looks import Looker
from reports import leak, overflow
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.alerts.state import decode
from sockwatch.model.settings import AlertSettings
path = Path(sys.argv[1])
for number in range(int(sys.argv[2])):
    ready, write = os.pipe()
    pid = os.fork()
    if not pid:
        looker = Looker(book=AlertBook(AlertSettings(keep_firing_for=0), path))
        while True:
            for findings in ((overflow(),), (leak(), overflow())):
                looker.see(*findings)
                looker.save()
                os.write(write, b".")
    for _ in range(1 + number % 3):
        os.read(ready, 1)
    deadline = time.monotonic() + number % 50 * 0.0001
    while time.monotonic() < deadline:
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready), os.close(write)
    found = len(decode(path.read_bytes()).alerts) if path.exists() else 0
    print(found, path.with_name("alerts.json.tmp").exists())
assert not path.with_name("alerts.json.corrupt").exists()
"""


def memory_of(*findings: Finding, path: Path) -> Memory:
    looker = Looker(book=AlertBook(AlertSettings(), path))
    for _ in range(4):
        looker.see(*findings)
    looker.save()
    return decode(path.read_bytes())


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return encode(memory_of(leak(), overflow(), path=tmp_path / "alerts.json"))


def test_reads_what_it_wrote(data: bytes) -> None:
    memory = decode(data)
    assert len(memory.alerts) == 2
    assert encode(memory) == data


def test_a_reader_never_finds_half_of_it_however_often_the_writer_is_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "alerts.json"), str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    seen = done.stdout.splitlines()
    assert len(seen) == KILLS
    assert {line.split()[0] for line in seen} >= {"1", "2"}
    assert any(line.endswith("True") for line in seen)  # some were killed in the middle of it


def test_cut_off_anywhere_it_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"\w"):
            decode(data[:length])


def test_with_any_byte_changed_it_is_read_or_refused(data: bytes) -> None:
    refused = 0
    for place in range(len(data)):
        for bit in (0x01, 0x10, 0x80):
            changed = bytearray(data)
            changed[place] ^= bit
            try:
                decode(bytes(changed))
            except ValueError:
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
def test_what_it_did_not_write_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(content)


def test_a_later_release_of_the_same_version_may_add_keys(data: bytes) -> None:
    added = data.replace(b'{"version":1', b'{"new":[1],"version":1').replace(b'"present":', b'"newer":null,"present":')
    assert decode(added) == decode(data)
