"""docs/sinks.md and the code say the same."""

import re

from contract.repository import ROOT
from sinks import FakeClock, alert
from sockwatch.export.sinks import alertmanager, hook, supervisor, webhook
from sockwatch.export.sinks.dispatcher import Dispatcher
from sockwatch.export.sinks.labels import OWN_LABELS, annotations
from sockwatch.export.sinks.notice import SCHEMA, notice_of, variables
from sockwatch.export.sinks.outbox import FILE_NAME, MOST_WAITING
from sockwatch.export.sinks.outcome import Loss, Reason

TEXT = re.sub(r"\s+", " ", (ROOT / "docs" / "sinks.md").read_text(encoding="utf-8"))
CODE = {*re.findall(r"`([^`]+)`", TEXT)}


def test_every_name_is_there() -> None:
    notice = notice_of(alert())
    assert {*variables(notice, ""), *OWN_LABELS, *annotations(notice), *Reason, *Loss, FILE_NAME} <= CODE
    families = {name.partition("{")[0] for name in CODE if name.startswith("sockwatch_")}
    described = {
        sample
        for family in Dispatcher({}, None, FakeClock()).metrics()
        for sample in (family.name, f"{family.name}_total")
    }
    assert families - {"sockwatch_outbox_write_success"} <= described
    assert f'`"schema": "{SCHEMA}"`' in TEXT


def test_every_number_is_right() -> None:
    for said in (
        f"At most {MOST_WAITING:,} alerts wait",
        f"at most {hook.MOST_HOOKS} hooks of all sinks",
        f"SIGTERM, {hook.GRACE:g} s later SIGKILL",
        f"with {supervisor.STOP_GRACE:g} s instead of {hook.GRACE:g}",
        f"It is tried {hook.Hook.attempts} times for an alert, {hook.Hook.first_pause:g} s after",
        f"never more than {supervisor.OUTPUT_BYTES // 1024} KiB",
        f"one message, at most {webhook.MOST_ALERTS}.",
        f"tried again after {webhook.Webhook.first_pause:g} s",
        f"at most {alertmanager.LONGEST_RESEND:g}, with an end in {alertmanager.LIVES} times as many",
        f"for {alertmanager.RESOLVED_FOR / 60:g} minutes",
    ):
        assert said in TEXT, said
