import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from sockwatch.collect.command_line import LONGEST, LONGEST_READ, format_command
from sockwatch.collect.processes import describe

PROC = Path("/proc")


def joined(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (joined("nginx", "-g", "daemon off;"), "nginx -g 'daemon off;'"),
        (b"nginx: worker process\0\0\0\0", "nginx: worker process"),
        (joined("app", ""), "app"),
        (joined("app", "", "x"), "app '' x"),
        (b"", None),
        (b"\0\0", None),
        # hostile
        (joined("a\nb", "\x1b[2J", "\u202ex", "\u2028"), r"'a\nb' '\x1b[2J' '\u202ex' '\u2028'"),
        (b"\xff\xfe\0x\0", r"'\xff\xfe' x"),
        # secrets
        (joined("app", "--password", "hunter2", "-v"), "app --password '***' -v"),
        (joined("app", "--password=hunter2"), "app '--password=***'"),
        (joined("app", "--password", "-v"), "app --password '***'"),
        (joined("java", "-Dspring.datasource.password=x", "-jar", "a.jar"), None),
        (joined("env", "AWS_SECRET_ACCESS_KEY=x", "GITHUB_TOKEN=y", "app"), None),
        (joined("curl", "-H", "Authorization: Bearer abc", "https://u:hunter2@host/"), None),
        (joined("app", "--token-file", "/run/token", "--password-file=/run/pw"), None),
        (b"postgres: app db password=hunter2 x\0", "postgres: app db password=***"),
    ],
)
def test_a_command_line_reads_as_a_shell_would_take_it(raw: bytes, shown: str | None) -> None:
    told = {
        "java": "java '-Dspring.datasource.password=***' -jar a.jar",
        "env": "env 'AWS_SECRET_ACCESS_KEY=***' 'GITHUB_TOKEN=***' app",
        "curl": "curl -H 'Authorization: ***' 'https://u:***@host/'",
        "app": "app --token-file /run/token --password-file=/run/pw",
    }
    program = raw.partition(b"\0")[0].decode("utf-8", "replace")
    assert format_command(raw) == (shown or (told.get(program) if raw.strip(b"\0") else None))


@pytest.mark.parametrize(
    "words",
    [
        ("sh", "-c", "redis-cli --password SECRET"),
        ("bash", "-c", "server --token SECRET --port 80"),
        ("bash", "-c", "server --token-file /x --token 'SECRET SECRET'"),
        ("python3", "-c", "run(['server', '--token', 'SECRET'])"),
        ("redis: --requirepass SECRET",),
        ("app", "--password", "-SECRET"),
        ("app", '{"password":"SECRET"}'),
        ("app", "{'password': 'SECRET'}"),
        ("app", "postgres://u:pa/SECRET@h/db"),
        ("app", "postgres://u:p@SECRET@h/db"),
        ("app", "https://SECRET@host/"),
        ("app", "amqp://u:SECRET@h1,amqp://u:SECRET@h2"),
        ("sh", "-c", "git clone https://SECRET@host/ x"),
        ("redis-server", "--requirepass", "SECRET"),
        ("app", "--pass", "SECRET"),
        ("app", "--pass=SECRET"),
        ("env", "DB_PASS=SECRET"),
        ("env", "dbPass=SECRET"),
        ("app", "--db-pwd=SECRET"),
        ("app", "--private-key=SECRET"),
        ("app", "--private_key", "SECRET"),
        ("curl", "-u", "user:SECRET", "http://h/"),
        ("curl", "-uuser:SECRET", "http://h/"),
        ("curl", "--user=user:SECRET", "http://h/"),
        ("sh", "-c", "curl -u user:SECRET http://h/"),
        ("curl", "-H", "X-Auth: Bearer SECRET"),
        ("app", "--password\nSECRET"),
        ("app", "--password=a\nSECRET"),
    ],
)
def test_a_secret_is_left_out_wherever_it_stands(words: tuple[str, ...]) -> None:
    shown = str(format_command(joined(*words)))
    assert "SECRET" not in shown
    assert "***" in shown
    assert shown.startswith(words[0].partition(" ")[0])


@pytest.mark.parametrize(
    "words",
    [
        ("app", "--token-file", "/run/token", "-v"),
        ("nginx", "-c", "/etc/nginx/passenger.conf"),
        ("ssh", "-p", "22", "user@host"),
        ("app", "http://127.0.0.1:8080/x"),
        ("sudo", "-u", "www-data", "app"),
        ("tail", "/var/log/password.log"),
    ],
)
def test_what_is_no_secret_is_shown(words: tuple[str, ...]) -> None:
    assert format_command(joined(*words)) == shlex.join(words)


def test_a_long_one_is_cut() -> None:
    for raw in (joined("x" * 2000), b"x\0" * LONGEST_READ):
        shown = format_command(raw[:LONGEST_READ])
        assert shown is not None
        assert len(shown) <= LONGEST
        assert shown.endswith("...")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=2, max_size=5))
def test_any_command_line_is_printable_and_of_bounded_length(words: list[str]) -> None:
    shown = format_command(joined(*words))
    assert shown is None or (shown.isprintable() and len(shown) <= LONGEST)


@given(st.lists(st.sampled_from(["a b", "it's", "$(id)", "*", "-x", "plain"]), min_size=2, max_size=5))
def test_it_can_be_taken_apart_again(words: list[str]) -> None:
    assert shlex.split(str(format_command(joined(*words)))) == words


def test_the_command_line_and_user_of_a_real_process() -> None:
    code = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "--token", "hunter2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = describe(child.pid, proc=PROC)
        child.kill()
    assert found is not None
    assert found.command == f"{sys.executable} -c '{code}' --token '***'"
    assert found.user == ("root" if os.geteuid() == 0 else found.user)


def test_a_user_goes_by_the_name_of_this_host_and_in_a_container_by_the_number(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/:/bin/sh\nbroken\nweb\x1b:x:33:33::/:/bin/sh\n")
    (tmp_path / "stat").write_text("cpu 0\nbtime 1700000000\n")
    shown = []
    for uid, cgroup in ((33, "/"), (99, "/"), (33, f"/docker/{'0' * 64}"), (0, f"/docker/{'0' * 64}")):
        folder = tmp_path / "7"
        (folder / "fd").mkdir(parents=True, exist_ok=True)
        (folder / "stat").write_text(f"7 (app) S {' '.join(['1'] * 18)} 100 {' '.join(['0'] * 30)}\n")
        (folder / "status").write_text(f"Name:\tapp\\nUid:\t1\nUid:\t5\t{uid}\t5\t5\n")
        (folder / "cgroup").write_text(f"0::{cgroup}\n")
        (folder / "cmdline").write_bytes(b"app\0")
        (folder / "limits").write_text("Max open files            1024                 4096                 files\n")
        found = describe(7, proc=tmp_path, passwd=passwd)
        assert found is not None
        shown.append(found.user)
    assert shown == [r"web\x1b", "99", "33", "root"]
