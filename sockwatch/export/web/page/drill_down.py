"""The sockets of one state or of one filter: how many of each kind, and some of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network

from sockwatch.export.layout import duration, number
from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.page.parts import moment, table
from sockwatch.export.web.socket_api import Found, socket_objects
from sockwatch.export.web.socket_groups import Group
from sockwatch.export.web.socket_query import Query
from sockwatch.model.poll import Poll
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State

PATH = "/sockets"
MOST_ROWS = 50
MOST_GROUPS = 8
_AGES = (60, 600, 3600)


def drill_down(poll: Poll, snapshot: Snapshot, query: Query, found: Found) -> Markup:
    """The section; every filter is a link, so that it works without JavaScript."""
    name = ", ".join(state.label for state in query.states) or "every state"
    return _section(
        tag("h2", f"Sockets: {name}", tag("small", f"{number(found.total)} at ", moment(poll.time), class_="note")),
        tag("div", _filters(query), class_="filters"),
        tag("div", _facets(query, found), class_="facets"),
        _unread(poll, query, found),
        _rows(snapshot, found),
        _next(query, found),
    )


def refusal(why: str) -> Markup:
    """The section where nothing can be shown, and why."""
    return _section(tag("h2", "Sockets"), tag("p", why, class_="nothing"), tag("div", _close(), class_="filters"))


def _section(*children: Markup | None) -> Markup:
    return tag("section", *children, id="sockets", aria_label="Sockets", tabindex=-1)


def _close() -> Markup:
    return tag("a", "Close", href="/", class_="close")


def _filters(query: Query) -> Iterator[Markup]:
    """What is filtered by, each with a link that takes it away; then ages to filter by."""
    base = replace(query, cursor=None)
    active = [
        (state.label, replace(base, states=tuple(s for s in base.states if s is not state))) for state in base.states
    ]
    if query.process is not None:
        active.append((f"process {query.process or 'not known'}", replace(base, process=None)))
    if query.peer is not None:
        active.append((f"peer {query.peer_text}", replace(base, peer=None, peer_port=None)))
    if query.port is not None:
        side = f" ({query.side})" if query.side is not None else ""
        active.append((f"port {query.port}{side}", replace(base, port=None, side=None)))
    if query.netns is not None:
        active.append((f"namespace {query.netns}", replace(base, netns=None)))
    for text, without in active:
        yield _link(text, without, "active", f"without {text}")
    for seconds in _AGES:
        if query.min_age == seconds:
            yield _link(f"{duration(seconds)} or older", replace(base, min_age=None), "active", "of any age")
        else:
            yield _link(f"{duration(seconds)} or older", replace(base, min_age=float(seconds)))
    yield _close()


def _link(text: str, query: Query, class_: str = "", told: str | None = None) -> Markup:
    return tag("a", text, href=query.address(PATH), class_=class_ or None, aria_label=told)


def _facets(query: Query, found: Found) -> Iterator[Markup]:
    base = replace(query, cursor=None)
    groups = found.groups
    if len(query.states) != 1:
        yield _facet("State", groups.state, lambda one: replace(base, states=(State[one.name.upper()],)))
    yield _facet("Process", groups.process, lambda one: replace(base, process=one.value))
    yield _facet("Peer", groups.peer, lambda one: replace(base, peer=ip_network(one.value or ""), peer_port=None))
    yield _facet("Service port", groups.port, lambda one: replace(base, port=int(one.value or 0), side=one.side))
    if len(groups.netns) > 1:
        yield _facet("Namespace", groups.netns, lambda one: replace(base, netns=one.value))


def _facet(title: str, groups: Sequence[Group], narrowed: Callable[[Group], Query]) -> Markup:
    items = []
    for one in groups:
        name = f"{one.name} ({one.side})" if one.side else one.name or "not known"
        about: Markup | str = name if one.value is None else _link(name, narrowed(one))
        items.append(tag("li", tag("span", about), tag("span", number(one.count), class_="number")))
    listed = tag("ul", items) if items else tag("p", "none", class_="nothing")
    return tag("div", tag("h3", title), listed)


def _unread(poll: Poll, query: Query, found: Found) -> Markup | None:
    """A look that has to save effort counts some states without reading their sockets."""
    if replace(query, states=(), cursor=None, limit=0, groups=0) != Query(limit=0, groups=0):
        return None
    counted = sum(poll.report.by_state.get(state) or 0 for state in query.states or State)
    if counted <= found.total:
        return None
    left = number(counted - found.total)
    return tag("p", f"{left} more were counted and not read; the page says why under Not seen.", class_="nothing")


def _rows(snapshot: Snapshot, found: Found) -> Markup:
    several = len(snapshot.namespaces) > 1
    rows = [
        (
            one["state"],
            one["local"],
            one["remote"],
            "?" if one["age_seconds"] is None else duration(one["age_seconds"]),
            number(one["recv_q"]),
            number(one["send_q"]),
            one["timer"],
            "not known" if one["process"] is None else f"{one['process']}[{one['pid']}]",
            *([one["netns"]] if several else []),
        )
        for one in socket_objects(snapshot, found.page)
    ]
    heads = ("state", "local", "remote", "age", "Recv-Q", "Send-Q", "timer", "process", *(["namespace"] * several))
    if not rows:
        return tag("p", "No socket matches.", class_="nothing")
    return table(heads, rows, caption="Sockets", numbers=(3, 4, 5))


def _next(query: Query, found: Found) -> Markup | None:
    if found.page.next is None:
        return None
    further = _link("the next ones", replace(query, cursor=found.page.next))
    return tag("p", f"{number(len(found.page.sockets))} of {number(found.total)}: ", further, class_="more")
