"""What the status page and the report on paper show alike of a finding."""

from sockwatch.export.layout import duration, number
from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.page.parts import table
from sockwatch.export.wording import EFFECT_LABEL, advice_text, by_effect
from sockwatch.model.finding import Effect, Finding

_WORDS = {Effect.HELPS: "helps:", Effect.LIMITS: "limits it:", Effect.NONE: "does not help:"}


def knobs(finding: Finding) -> Markup | None:
    """The sysctls, each with what it does about this."""
    if not finding.sysctls:
        return None
    items = [
        tag(
            "li",
            tag("span", _WORDS[advice.effect], class_="effect"),
            " ",
            tag("span", advice_text(advice)),
            class_=EFFECT_LABEL[advice.effect].replace(" ", "-"),
        )
        for advice in by_effect(finding.sysctls)
    ]
    return tag("ul", items, class_="knobs", aria_label="sysctls")


def socket_rows(finding: Finding, caption: str) -> Markup:
    """The few sockets that stand for all of them."""
    rows = [
        (
            row.state.label,
            row.local,
            row.remote,
            "?" if row.age_seconds is None else duration(row.age_seconds),
            number(row.recv_q),
            number(row.send_q),
            row.timer,
            "-" if row.pid is None else str(row.pid),
        )
        for row in finding.sockets
    ]
    heads = ("state", "local", "remote", "age", "Recv-Q", "Send-Q", "timer", "pid")
    return table(heads, rows, caption=caption, numbers=(3, 4, 5, 7))
