import subprocess
import sys
from pathlib import Path


def test_a_config_that_others_may_write_starts_nothing(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[sinks.pager]\ntype = "exec"\ncommand = ["/bin/true"]\n')
    config.chmod(0o666)
    ended = subprocess.run(
        [sys.executable, "-m", "sockwatch", "run", "--config", config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.count("\n") == 1
    assert f"{config}: the file may be written by everybody; it says which programs are started" in ended.stderr
