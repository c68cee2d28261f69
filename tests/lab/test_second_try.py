import argparse
from typing import Any

import pytest

from sockwatch.cli import lab
from sockwatch.errors import ProvokeError
from sockwatch.lab import isolation
from sockwatch.lab.registry import load_scenarios

SCENARIO = load_scenarios()["lottery"]


def play(monkeypatch: pytest.MonkeyPatch, *failures: ProvokeError) -> dict[str, Any]:
    """The result of a stage that is set in vain so many times."""
    left = list(failures)

    def isolated(_work: object) -> dict[str, Any]:
        if left:
            raise left.pop(0)
        return {"ok": True}

    monkeypatch.setattr(isolation, "isolated", isolated)
    return lab._play(SCENARIO, argparse.Namespace(), told=False)  # noqa: SLF001 - what a run of one and of all share


def test_a_scene_that_did_not_come_about_by_chance_is_set_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert play(monkeypatch, ProvokeError("waited", by_chance=True)) == {"ok": True}
    with pytest.raises(ProvokeError, match="again"):
        play(monkeypatch, ProvokeError("waited", by_chance=True), ProvokeError("again", by_chance=True))


def test_what_the_kernel_refuses_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProvokeError, match="no user namespaces"):
        play(monkeypatch, ProvokeError("no user namespaces"))
