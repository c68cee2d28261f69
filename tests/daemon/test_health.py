import logging

import pytest

from daemon.sources import health
from sockwatch.daemon.health import Health, Part


def samples(watched: Health) -> dict[tuple[str, str], float]:
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for metric in watched.metrics()
        for sample in metric.samples
    }


def test_every_part_is_there_before_anything_breaks() -> None:
    told = samples(health())
    assert {part for name, part in told if name == "sockwatch_internal_errors_total"} == {*Part}
    assert told["sockwatch_config_last_reload_successful", ""] == 1
    assert told["sockwatch_polls_skipped_total", ""] == 0
    assert told["sockwatch_capability", "cap_sys_ptrace"] == 0
    assert told["process_open_fds", ""] > 0


def test_what_it_may_is_absent_where_that_is_not_known() -> None:
    blind = Health(capabilities=None, state_usable=True, reloaded=0.0)
    assert not [name for name, _ in samples(blind) if name == "sockwatch_capability"]


def test_the_same_error_is_logged_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    watched = health()
    for error in (ValueError("a"), ValueError("a"), ValueError("b")):
        watched.broke(Part.SERVER, error)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a", "b"]
    assert samples(watched)["sockwatch_internal_errors_total", "server"] == 3


def test_threads_of_a_part_break_and_work_again_each_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    watched = health()
    hear = watched.listener(Part.SINKS)
    for _ in range(3):
        hear("sink chat", ValueError("a"))
        watched.works(Part.SINKS)
        hear("sink pager", ValueError("b"))
        hear("sink pager", None)
    assert len([message for message in caplog.messages if "sink chat" in message]) == 1
    assert len([message for message in caplog.messages if "sink pager" in message]) == 3
    assert samples(watched)["sockwatch_internal_errors_total", "sinks"] == 6
