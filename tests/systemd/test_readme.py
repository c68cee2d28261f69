"""What the README says about the service, done as written, on a machine of its own with a systemd."""

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from box import PROGRAM, PYTHON, ROOT, Box, until
from systemd.conftest import metrics

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_program("systemctl", "nsenter", "unshare", "setpriv", "curl", "ip"),
]

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SHIPPED = ROOT / "prometheus"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def section(title: str) -> str:
    """The text under a heading."""
    return re.split(r"^## ", TEXT.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def blocks(language: str, text: str) -> list[str]:
    """What a reader copies."""
    return [block for found, block in BLOCK.findall(text) if found == language]


def files() -> Mapping[str, str]:
    """What the README says to write where."""
    return dict(re.findall(r"`(/etc/\S+)`:\n\n```\w+\n(.*?)```", TEXT, re.DOTALL))


def type_in(box: Box, block: str) -> str:
    """The commands of a block one by one, as root, in the folder of the project; what they said."""
    return "".join(box.run("sh", "-c", f"cd {ROOT} && {line}") for line in block.splitlines())


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """Installed as the README says. There is no network: pip finds what sockwatch needs in the venv of the tests."""
    uv_build = shutil.which("uv-build", path=str(Path(sys.executable).parent)) or "/bin/false"
    stand_ins = {
        "/usr/local/bin/python3": f'#!/bin/sh\nexec {PYTHON} "$@"\n',
        "/usr/local/bin/uv-build": f'#!/bin/sh\nexec {uv_build} "$@"\n',
        "/etc/ld.so.conf.d/python.conf": "/srv/python/lib\n",
        "/etc/pip.conf": "[global]\nno-index = true\nno-build-isolation = false\n",  # false is how pip spells that
    }
    with Box(stand_ins) as machine:
        machine.run("rm", PROGRAM)
        machine.run("ldconfig")
        install, *_ = blocks("sh", section("Watch all the time"))
        make_venv, _, rest = install.partition("\n")
        type_in(machine, make_venv)
        machine.write(f"/opt/sockwatch/{SITE}/of-tests.pth", "/srv/packages\n")
        assert "\nsockwatch_poll_success 1.0\n" in type_in(machine, rest)
        yield machine


def test_as_a_service(box: Box) -> None:
    assert box.run("sh", "-c", "readlink -f $(command -v sockwatch)") == "/opt/sockwatch/bin/sockwatch\n"
    assert "sockwatch.service" in box.run("systemctl", "list-unit-files", "--state=enabled")
    assert json.loads(box.run("sockwatch", "check", "--json", check=False))["schema"] == "sockwatch.report/1"


def test_containers_config_and_history(box: Box) -> None:
    _, containers, config, past = blocks("sh", section("Watch all the time"))
    type_in(box, containers)
    assert metrics(box)['sockwatch_capability{capability="cap_sys_admin"}'] == 1
    started = metrics(box)["sockwatch_config_last_reload_success_timestamp_seconds"]
    assert "/etc/sockwatch/config.toml: ok" in type_in(box, config)
    until(
        lambda: metrics(box)["sockwatch_config_last_reload_success_timestamp_seconds"] > started, what="the new config"
    )
    assert "reloaded" in type_in(box, past)


@pytest.mark.needs_program("prometheus")
def test_prometheus(box: Box) -> None:
    path = "/etc/prometheus/prometheus.yml"
    box.write(path, files()[path])
    type_in(box, *blocks("sh", section("Prometheus")))
    box.run("systemd-run", "prometheus", f"--config.file={path}", "--storage.tsdb.path=/tmp/prometheus")

    api = "http://127.0.0.1:9090/api/v1"
    box.run("sh", "-c", f"until curl -s '{api}/query?query=up==1' | grep -q 127.0.0.1:10147; do sleep 0.5; done")
    loaded = json.loads(box.run("curl", "--silent", f"{api}/rules"))["data"]["groups"]
    rules = yaml.safe_load((SHIPPED / "sockwatch.rules.yml").read_text(encoding="utf-8"))["groups"]
    assert {group["name"] for group in loaded} == {group["name"] for group in rules}


@pytest.mark.needs_program("prometheus-alertmanager")
def test_alertmanager(box: Box) -> None:
    path = "/etc/prometheus/alertmanager.yml"
    box.write(path, files()[path])
    options = (f"--config.file={path}", "--storage.path=/tmp/alertmanager", "--cluster.listen-address=")
    box.run("systemd-run", "prometheus-alertmanager", *options)
    box.run("mkdir", "-p", "/etc/sockwatch")
    box.write("/etc/sockwatch/config.toml", files()["/etc/sockwatch/config.toml"])
    box.run("sh", "-c", "until curl --silent --fail http://127.0.0.1:9093/-/ready; do sleep 0.1; done")
    type_in(box, *blocks("sh", section("Alertmanager")))
    (known,) = json.loads(box.run("curl", "--silent", "http://127.0.0.1:9093/api/v2/alerts"))
    assert (known["labels"]["alertname"], known["receivers"]) == ("test", [{"name": "on-call"}])


@pytest.mark.parametrize("name", ["prometheus.yml", "alertmanager.yml"])
def test_what_it_quotes_is_what_is_shipped(name: str) -> None:
    quoted, shipped = (
        yaml.safe_load(text) for text in (files()[f"/etc/prometheus/{name}"], (SHIPPED / name).read_text("utf-8"))
    )
    assert quoted == {key: shipped[key] for key in quoted}
