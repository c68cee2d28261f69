"""Path shapes as the container runtimes, Kubernetes and systemd make them; docs/owners.md lists them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockwatch.collect.cgroup import CgroupTree, parse_cgroup
from sockwatch.model.snapshot import Cgroup

PROC = Path("/proc")
ID = "0123456789abcdef" * 4
SHORT = ID[:12]
OTHER = ID[::-1]
UID = "72f7f152-440c-66ac-9084-e0fc1d8a910c"
IN_SLICE = UID.replace("-", "_")
STATIC = "99dcb84d2a34f7e338778606703258c4"
PODS = "/kubepods.slice/kubepods-burstable.slice"
SLICE = f"{PODS}/kubepods-burstable-pod{IN_SLICE}.slice"
IN_KIND = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable"
USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # systemd
        ("/system.slice/nginx.service", Cgroup(unit="nginx.service")),
        ("/system.slice/nginx.service/workers", Cgroup(unit="nginx.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", Cgroup(unit="getty@tty1.service")),
        ("/system.slice/_cpu.service", Cgroup(unit="cpu.service")),
        ("/system.slice/gone.service (deleted)", Cgroup(unit="gone.service")),
        ("/a:b.service", Cgroup(unit="a:b.service")),
        ("/user.slice/user-1000.slice/session-2.scope", Cgroup(unit="session-2.scope")),
        (f"{USER}/init.scope", Cgroup(unit="init.scope", unit_manager="user@1000.service")),
        (f"{USER}/app.slice/app-foot.scope", Cgroup(unit="app-foot.scope", unit_manager="user@1000.service")),
        (f"{USER}/app.slice", Cgroup(unit="user@1000.service")),
        ("/user.slice", Cgroup(unit="user.slice")),
        # Docker: with systemd, with cgroupfs, rootless, nested, with a parent of its own
        (f"/system.slice/docker-{ID}.scope", Cgroup(unit=f"docker-{ID}.scope", container=SHORT, runtime="docker")),
        (f"/docker/{ID}", Cgroup(container=SHORT, runtime="docker")),
        (f"/docker/{ID}/init.scope", Cgroup(unit="init.scope", container=SHORT, runtime="docker")),
        (
            f"{USER}/user.slice/docker-{ID}.scope",
            Cgroup(unit=f"docker-{ID}.scope", unit_manager="user@1000.service", container=SHORT, runtime="docker"),
        ),
        (f"/docker/{ID}/docker/{OTHER}", Cgroup(container=OTHER[:12], runtime="docker")),
        (f"/docker/{ID}/system.slice/app.service", Cgroup(unit="app.service", container=SHORT, runtime="docker")),
        (f"/ecs/cluster/0b69d5c0-d655-4695-98cd-5d2d526d9d5a/{ID}", Cgroup(container=SHORT, runtime="docker")),
        (f"/{ID}", Cgroup(container=SHORT)),
        # podman: with systemd, with cgroupfs, split (Quadlet), and what watches over it
        (
            f"/machine.slice/libpod-{ID}.scope/container",
            Cgroup(unit=f"libpod-{ID}.scope", container=SHORT, runtime="podman"),
        ),
        (f"/libpod_parent/libpod-{ID}", Cgroup(container=SHORT, runtime="podman")),
        (
            f"{USER}/app.slice/redis.service/libpod-payload-{ID}",
            Cgroup(unit="redis.service", unit_manager="user@1000.service", container=SHORT, runtime="podman"),
        ),
        (f"/machine.slice/libpod-conmon-{ID}.scope", Cgroup(unit=f"libpod-conmon-{ID}.scope")),
        # containerd without Kubernetes: nerdctl
        (
            f"/system.slice/nerdctl-{ID}.scope",
            Cgroup(unit=f"nerdctl-{ID}.scope", container=SHORT, runtime="containerd"),
        ),
        (f"/default/{ID}", Cgroup(container=SHORT, runtime="containerd")),
        # Kubernetes: containerd, CRI-O, Docker; systemd and cgroupfs; a kubelet with a root of its own; static pods
        (
            f"{SLICE}/cri-containerd-{ID}.scope",
            Cgroup(unit=f"cri-containerd-{ID}.scope", container=SHORT, runtime="containerd", pod=UID),
        ),
        (
            f"{SLICE}/crio-{ID}.scope/container",
            Cgroup(unit=f"crio-{ID}.scope", container=SHORT, runtime="cri-o", pod=UID),
        ),
        (f"{SLICE}/crio-conmon-{ID}.scope", Cgroup(unit=f"crio-conmon-{ID}.scope", pod=UID)),
        (f"{SLICE}/docker-{ID}.scope", Cgroup(unit=f"docker-{ID}.scope", container=SHORT, runtime="docker", pod=UID)),
        (f"/kubepods/burstable/pod{UID}/{ID}", Cgroup(container=SHORT, pod=UID)),
        (f"/kubepods/pod{UID}/crio-{ID}", Cgroup(container=SHORT, runtime="cri-o", pod=UID)),
        (
            f"/system.slice/containerd.service/kubepods-besteffort-pod{IN_SLICE}.slice:cri-containerd:{ID}",
            Cgroup(unit="containerd.service", container=SHORT, runtime="containerd", pod=UID),
        ),
        (
            f"{IN_KIND}-pod{STATIC}.slice/cri-containerd-{ID}.scope",
            Cgroup(unit=f"cri-containerd-{ID}.scope", container=SHORT, runtime="containerd", pod=STATIC),
        ),
        (
            f"/docker/{OTHER}{IN_KIND}-pod{IN_SLICE}.slice/cri-containerd-{ID}.scope",
            Cgroup(unit=f"cri-containerd-{ID}.scope", container=SHORT, runtime="containerd", pod=UID),
        ),
        (f"/../../kubepods/burstable/pod{UID}/{ID}", Cgroup(container=SHORT, pod=UID)),
        # LXC and Incus
        ("/lxc.payload.web1/system.slice/a.service", Cgroup(unit="a.service", container="web1", runtime="lxc")),
        ("/lxc/web1", Cgroup(container="web1", runtime="lxc")),
        # What says nothing
        (f"/x{ID}", Cgroup()),
        (f"/kubepods/podcast/{ID[:63]}", Cgroup()),
        ("/", Cgroup()),
        # What a container, or a user with a cgroup of his own, may have called a folder
        ("/evil\x1b[2J.service", Cgroup(unit=r"evil\x1b[2J.service")),
        ("/x\u2028" + "1:name=systemd:/b.service", Cgroup(unit="b.service")),
        ("/" + "x" * 300 + ".service", Cgroup(unit="x" * 255)),
    ],
)
@pytest.mark.parametrize("hierarchy", ["0::", "1:name=systemd:", "5:memory:"])
def test_a_path_tells_unit_container_runtime_and_pod(path: str, expected: Cgroup, hierarchy: str) -> None:
    assert parse_cgroup(f"{hierarchy}{path}\n") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3:cpu:/wrong.slice\n1:name=systemd:/system.slice/a.service\n0::/\n", Cgroup(unit="a.service")),
        (
            f"5:memory:/docker/{ID}\n0::/system.slice/containerd.service\n",
            Cgroup(container=SHORT, runtime="docker"),
        ),
        ("0::/a.service\u20281:name=systemd:/b.service\n", Cgroup(unit="b.service")),
        ("garbage\n", Cgroup()),
        ("", Cgroup()),
    ],
)
def test_version_2_comes_first_then_systemds_hierarchy_then_the_others(text: str, expected: Cgroup) -> None:
    assert parse_cgroup(text) == expected


@pytest.fixture
def made() -> Iterator[Path]:
    """A real cgroup of version 2 that nobody is in."""
    tree = CgroupTree(PROC)
    tree.refresh()
    if tree.mount is None:
        pytest.skip("kernel: cgroup2 is not mounted here")
    folder = tree.mount / f"sockwatch-test-{os.getpid()}.service"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"kernel: no cgroup can be made here: {error.strerror}")
    yield folder
    if folder.exists():
        folder.rmdir()


def test_a_cgroup_is_known_by_the_inode_of_its_folder(made: Path) -> None:
    number = made.stat().st_ino
    tree = CgroupTree(PROC)
    assert not tree.knows(number)
    tree.refresh()
    assert tree.describe(number) == Cgroup(unit=made.name)
    assert tree.pids(number) == ()


def test_a_cgroup_that_was_removed_is_gone_where_the_whole_tree_is_seen(made: Path) -> None:
    number = made.stat().st_ino
    made.rmdir()
    tree = CgroupTree(PROC)
    tree.refresh()
    if not tree.whole:
        pytest.skip("kernel: this is a cgroup namespace of its own")
    assert tree.describe(number) == Cgroup(gone=True)


def test_without_cgroup2_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n")
    tree = CgroupTree(tmp_path)
    tree.refresh()
    assert (tree.describe(7), tree.pids(7)) == (None, ())


def test_a_part_of_the_tree_does_not_say_that_the_rest_is_gone(tmp_path: Path) -> None:
    """As in a container: the mount shows the cgroups below its own."""
    (tmp_path / "self").mkdir()
    (tmp_path / "a mount" / "app.service").mkdir(parents=True)
    line = f"41 31 0:38 / {tmp_path}/a\\040mount rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "self" / "mountinfo").write_text(line)
    tree = CgroupTree(tmp_path)
    tree.refresh()
    number = (tmp_path / "a mount" / "app.service").stat().st_ino
    assert tree.describe(number) == Cgroup(unit="app.service")
    assert tree.describe(number + 1_000_000) is None
