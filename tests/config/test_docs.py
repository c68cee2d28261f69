"""docs/config.md is as the program is."""

import re
from pathlib import Path

import pytest

from sockwatch.config import load
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
DEFAULTS = {code: detector.settings for code, detector in load_detectors().items()}
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)


def test_the_mistakes_in_the_page_are_those_of_the_file_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text(BLOCKS[0][1])
    with pytest.raises(ConfigError) as caught:
        load(Path("config.toml"), DEFAULTS)
    assert list(caught.value.mistakes) == BLOCKS[1][1].splitlines()


def test_the_silence_of_the_page_is_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(BLOCKS[2][1])
    (silence,) = load(path, DEFAULTS).daemon.alerts.silences
    assert (silence.code, silence.process) == ("close_wait_leak", "legacy-*")
