import os
from pathlib import Path

import pytest

from sockwatch.collect import sysctl_files
from sockwatch.collect.sysctl_files import read_sysctl_files
from sockwatch.model.snapshot import SysctlSetting

FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"


def put(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(root: Path) -> dict[str, tuple[str, str, int]]:
    """Name -> value, file, line; without gaps."""
    settings, gaps = read_sysctl_files(root)
    assert gaps == ()
    assert [setting.name for setting in settings] == sorted({setting.name for setting in settings})
    return {setting.name: (setting.value, setting.file, setting.line) for setting in settings}


def why_not(root: Path) -> list[str]:
    _, gaps = read_sysctl_files(root)
    assert {(gap.what, gap.fatal) for gap in gaps} <= {("sysctl files", False)}
    return [gap.why for gap in gaps]


def test_a_host_without_any_file_sets_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == {}


def test_a_setting_has_its_file_and_line(tmp_path: Path) -> None:
    put(tmp_path, "etc/sysctl.conf", "# a comment\n; another = one\n\nnet.ipv4.tcp_tw_recycle = 1\n")
    assert read_sysctl_files(tmp_path) == (
        (SysctlSetting(name="net.ipv4.tcp_tw_recycle", value="1", file="/etc/sysctl.conf", line=4),),
        (),
    )


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("net.ipv4.tcp_fin_timeout=30", FIN_TIMEOUT, "30"),
        ("  net.ipv4.tcp_fin_timeout  =  30  ", FIN_TIMEOUT, "30"),
        ("net/ipv4/tcp_fin_timeout = 30", FIN_TIMEOUT, "30"),
        ("-net.ipv4.tcp_fin_timeout = 30", FIN_TIMEOUT, "30"),
        ("net.ipv4.ip_local_port_range = 1024\t 65535", "net.ipv4.ip_local_port_range", "1024 65535"),
        ("net.ipv4.tcp_fin_timeout =", FIN_TIMEOUT, ""),
        ("net.ipv4.tcp_fin_timeout = 30\r", FIN_TIMEOUT, "30"),
        ("net.core.x = a=b", "net.core.x", "a=b"),
        ("net.core.x\x1b = \u202e1", r"net.core.x\x1b", r"\u202e1"),
    ],
)
def test_a_line_is_read_as_sysctl_d_says(tmp_path: Path, line: str, name: str, value: str) -> None:
    put(tmp_path, "etc/sysctl.d/a.conf", f"{line}\n")
    assert read(tmp_path) == {name: (value, "/etc/sysctl.d/a.conf", 1)}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "#net.ipv4.tcp_fin_timeout = 30",
        "  ; net.ipv4.tcp_fin_timeout = 30",
        "net.ipv4.tcp_fin_timeout",
        "-net.ipv4.tcp_fin_timeout",
        "kernel.pid_max = 4194304",
        "net = 1",
        "= 1",
        "net.ipv4.conf.all.rp_filter = 1",
        "net/ipv4/conf/eth0.1/rp_filter = 1",
        "net.ipv6.neigh.default.gc_thresh1 = 1",
        "net.ipv4.tcp_* = 1",
        "net.ipv4." + 600 * "x" + " = 1",
    ],
)
def test_other_lines_say_nothing(tmp_path: Path, line: str) -> None:
    put(tmp_path, "etc/sysctl.d/a.conf", f"{line}\n")
    assert read(tmp_path) == {}


def test_the_last_file_by_name_wins_wherever_it_is_and_sysctl_conf_after_all(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/sysctl.d/90-b.conf", "net.a.x = lib\nnet.a.y = lib\n")
    put(tmp_path, "etc/sysctl.d/10-a.conf", "net.a.x = etc\nnet.a.z = etc\nnet.a.z = again\n")
    put(tmp_path, "run/sysctl.d/README", "net.a.w = no\n")
    put(tmp_path, "etc/sysctl.conf", "net.a.y = conf\n")
    assert read(tmp_path) == {
        "net.a.x": ("lib", "/usr/lib/sysctl.d/90-b.conf", 1),
        "net.a.y": ("conf", "/etc/sysctl.conf", 1),
        "net.a.z": ("again", "/etc/sysctl.d/10-a.conf", 3),
    }


def test_a_file_hides_those_of_its_name_and_a_link_to_dev_null_hides_them_all(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/sysctl.d/a.conf", "net.a.x = lib\nnet.a.y = lib\n")
    put(tmp_path, "run/sysctl.d/a.conf", "net.a.x = run\n")
    assert read(tmp_path) == {"net.a.x": ("run", "/run/sysctl.d/a.conf", 1)}
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "etc/sysctl.d/a.conf").symlink_to("/dev/null")
    assert read(tmp_path) == {}


def test_what_cannot_be_read_is_a_gap_and_the_rest_is_read(tmp_path: Path) -> None:
    put(tmp_path, "etc/sysctl.d/z.conf", "net.a.x = 1\n")
    (tmp_path / "etc/sysctl.d/a.conf").mkdir()
    os.mkfifo(tmp_path / "etc/sysctl.d/b.conf")
    (tmp_path / "etc/sysctl.d/c.conf").symlink_to("gone")
    put(tmp_path, "etc/sysctl.d/d.conf", b"x" * (sysctl_files.MAX_BYTES + 1))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/sysctl.d").symlink_to("sysctl.d")
    assert [setting.name for setting in read_sysctl_files(tmp_path)[0]] == ["net.a.x"]
    assert why_not(tmp_path) == [
        "/run/sysctl.d: Too many levels of symbolic links",
        "/etc/sysctl.d/a.conf: Is a directory",
        "/etc/sysctl.d/b.conf: no regular file",
        "/etc/sysctl.d/d.conf: larger than 256 KiB",
    ]


def test_a_file_of_others_is_a_gap_for_whom_it_is_closed(tmp_path: Path) -> None:
    put(tmp_path, "etc/sysctl.conf", "net.a.x = 1\n").chmod(0)
    expected = [] if os.geteuid() == 0 else ["/etc/sysctl.conf: Permission denied"]
    assert why_not(tmp_path) == expected


def test_many_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysctl_files, "MAX_FILES", 23)
    for number in range(30):
        put(tmp_path, f"etc/sysctl.d/{number:02}.conf", f"net.a.x{number:02} = 1\n")
    assert [setting.name for setting in read_sysctl_files(tmp_path)[0]] == [f"net.a.x{n:02}" for n in range(23)]
    assert why_not(tmp_path) == ["/etc/sysctl.d: more than 23 files"]


def test_a_long_value_is_cut_and_bytes_that_are_no_text_are_shown(tmp_path: Path) -> None:
    put(tmp_path, "etc/sysctl.conf", b"net.a.x = " + 10_000 * b"9" + b"\nnet.a.y = \xff\n")
    found = read(tmp_path)
    assert len(found["net.a.x"][0]) == sysctl_files.MAX_TEXT
    assert found["net.a.y"][0] == r"\xff"
