"""The terminal view: one table below the verdict; keys choose what it lists."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.message import Message
from textual.widgets import DataTable, Footer, Input, Static

from sockwatch.clock import Clock
from sockwatch.errors import UsageError
from sockwatch.export.layout import number
from sockwatch.export.rates import rates
from sockwatch.export.terminal import render_finding
from sockwatch.export.tui.follow import Followed
from sockwatch.export.tui.head import RATES, TABS, rates_text, states_text, tabs_text, verdict_text
from sockwatch.export.tui.reading import HELP, Reading, pairs_text
from sockwatch.export.tui.rows import Rows
from sockwatch.export.tui.style import STYLE, THEME
from sockwatch.export.tui.tables import LOOKS_IN_TREND, Row, View, arrange, listing
from sockwatch.export.tui.view import MOST_ROWS, Feed, Look, SocketLine, follow_query
from sockwatch.export.tui.watch import News, Watch
from sockwatch.export.tui.words import KEYS, describe, narrow
from sockwatch.export.web.finding_query import sockets_of
from sockwatch.export.web.socket_query import Query
from sockwatch.model.finding import Finding
from sockwatch.model.printable import printable
from sockwatch.model.state import State

_LATE_INTERVALS, _LATE_SECONDS = 3, 30.0
_OF_TABLES = frozenset({"view", "next_view", "leave", "filter", "sort", "reverse", "help"})


@dataclass(slots=True, kw_only=True)
class _Place:
    """A view with how it is sorted and filtered; sockets have what they were asked for by, too."""

    view: View
    sort: int | None = None
    reverse: bool = False
    words: str = ""
    typed: str = ""
    query: Query = field(default_factory=Query)
    asked: Query = field(default_factory=Query)
    """`query` with what was typed."""


class _Told(Message):
    """The thread has news."""

    def __init__(self, news: News) -> None:
        super().__init__()
        self.news = news


class Top(App[None]):
    """Shows what `feed` sees, every `interval` seconds; `first` is its first look."""

    CSS = STYLE
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(key), f"view('{view.value}')", show=False) for key, view in enumerate(TABS, 1)),
        Binding("tab", "next_view(1)", show=False, priority=True),
        Binding("shift+tab", "next_view(-1)", show=False, priority=True),
        Binding("escape,backspace", "leave", "Back"),
        Binding("slash", "filter", "Filter"),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("p", "pause", "Pause"),
        Binding("question_mark,h", "help", "Help"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, feed: Feed, first: Look, clock: Clock, *, interval: float) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name
        self._feed = feed
        self._clock = clock
        self._watch = Watch(feed, first, clock, interval)
        self._news = self._watch.news
        self._before: Look | None = None
        self._new_at = self._news.monotonic - first.age
        """When the newest look was taken, in seconds since boot."""
        self._rates: dict[str, float] = {}
        self._trend: dict[State, deque[int]] = {state: deque(maxlen=LOOKS_IN_TREND) for state in State}
        self._places = [_Place(view=View.FINDINGS)]
        self._followed: Followed | None = None
        self._reading: Reading | None = None
        self._rows: tuple[Row, ...] = ()
        self._remember(first)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is about the table is not offered where something else is read."""
        if len(self.screen_stack) > 1 and action in _OF_TABLES:
            return False
        return super().check_action(action, parameters)

    def compose(self) -> ComposeResult:
        """From the verdict down to the keys."""
        yield Static(id="verdict")
        yield Static(id="rates")
        yield Static(id="states")
        yield Static(id="tabs")
        yield Static(id="title")
        yield Rows(cursor_type="row", cell_padding=0, zebra_stripes=False)
        yield Input(id="filter", select_on_focus=False)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Show the first look, and go on looking."""
        self.query_one(Rows).focus()
        self._show()
        self._watch.start(self._tell)
        self.set_interval(1.0, self._show_head)

    def on_unmount(self) -> None:
        """Nobody looks any more."""
        self._watch.stop()

    def _tell(self, news: News) -> None:
        self.post_message(_Told(news))  # from any thread

    @on(_Told)
    def _take(self, told: _Told) -> None:
        if not self.screen_stack[0].query(Rows):
            return  # the view ends
        before, self._news = self._news, told.news
        if self._news.look is not before.look:
            self._before = before.look
            self._new_at = self._news.monotonic - self._news.look.age
            self._rates = dict(rates(self._news.look.report, before.look.report, RATES))
            self._remember(self._news.look)
        if self._followed is not None and self._news.found is not None and self._news.found.query.limit == 1:
            self._followed.take(self._news.found, self._news.look.report.time)
        if self._reading is not None:
            self._reading.renew()
        self._show()

    def _remember(self, look: Look) -> None:
        for state, count in look.report.by_state.items():
            if count is not None:
                self._trend[state].append(count)

    @property
    def _place(self) -> _Place:
        return self._places[-1]

    def _show(self) -> None:
        self._show_head()
        report = self._news.look.report
        self._say("rates", rates_text(report, self._rates))
        self._say("states", states_text(report))
        self._say("tabs", tabs_text(self._places[0].view, len(report.findings)))
        self._fill()

    def _show_head(self) -> None:
        news, report = self._news, self._news.look.report
        age = self._clock.monotonic() - self._new_at
        usual = news.look.interval
        if usual is None:
            usual = report.time - self._before.report.time if self._before is not None else 0.0
        late = not self._watch.paused and age > max(_LATE_INTERVALS * max(usual, self._watch.interval), _LATE_SECONDS)
        self._say(
            "verdict",
            verdict_text(report, self._feed.where, age=age, late=late, failure=news.failure, paused=self._watch.paused),
        )

    def _say(self, name: str, text: Text) -> None:
        # A Text alone would be given RGB colours; in a group it keeps those of the terminal.
        for line in self.screen_stack[0].query(f"#{name}").results(Static):  # none is left when the view ends
            line.update(Group(text))

    def _title(self, said: str, beyond: str) -> Text:
        """`beyond` are columns that are not on the screen; where there is no room to say so there is a second line."""
        place = self._place
        parts = []
        if place.view is View.SOCKETS:
            found, listed, count = self._news.found, "", "asking for"
            if found is not None and found.query == place.asked:
                count = number(found.total)
                listed = f"the first {MOST_ROWS} are listed" if found.total > len(found.lines) else ""
            parts = [f"{count} sockets {describe(place.asked)}".strip(), listed, self._news.refusal]
        if place.words:
            parts.append(f"with {place.words}")
        text = Text(printable("; ".join(part for part in [*parts, said] if part)), overflow="ellipsis", no_wrap=True)
        if beyond:
            hint = f"Right:{beyond}"
            beside = text.cell_len + 2 + len(hint) <= self.size.width
            text.append(("  " if beside else "\n") if text else "").append(hint, "reverse")
        return text

    def _fill(self) -> None:
        place, data = self._place, self.screen_stack[0].query_one(Rows)
        found = self._news.found if self._news.found and self._news.found.query == place.asked else None
        table = listing(place.view, self._news.look, self._trend, found, width=self.size.width)
        sort = table.sort if place.sort is None else place.sort
        at = data.cursor_row
        key = self._rows[at].key if 0 < at < len(self._rows) else None
        left, top = data.scroll_x, data.scroll_y
        self._rows = arrange(table, sort=sort, reverse=place.reverse, words=place.words)[: 2 * MOST_ROWS]
        data.show(table, self._rows, sort)
        said = "" if self._rows else table.empty if not table.rows else "no row has that"
        self._say("title", self._title(said, data.beyond))
        if self._rows and key is not None:
            keys = [row.key for row in self._rows]
            data.move_cursor(row=keys.index(key) if key in keys else min(at, len(keys) - 1), scroll=False)
        data.scroll_to(left, top, animate=False)

    @on(DataTable.RowSelected)
    def _open(self, selected: DataTable.RowSelected) -> None:
        if not 0 <= selected.cursor_row < len(self._rows):
            return
        target = self._rows[selected.cursor_row].target
        if isinstance(target, Finding):
            self._read(target)
        elif isinstance(target, SocketLine):
            self._follow(target)
        elif isinstance(target, Query):
            self._list(target)

    def _list(self, query: Query) -> None:
        asked = replace(query, limit=MOST_ROWS, groups=0)
        self._go_to(_Place(view=View.SOCKETS, query=asked, asked=asked))

    def _go_to(self, place: _Place) -> None:
        self._places.append(place)
        self._arrive()

    def _arrive(self) -> None:
        """At another place: its cursor is on the first row."""
        self._rows = ()
        place = self._place
        self._watch.want(place.asked if place.view is View.SOCKETS else None)
        self._close_filter()
        self._show()
        self.screen_stack[0].query_one(Rows).scroll_home(animate=False)

    def _read(self, finding: Finding) -> None:
        def text(width: int) -> Text:
            return Text(render_finding(finding, width=width))

        opens = (lambda: self._list(sockets_of(finding))) if finding.sockets else None
        self._push(Reading("finding", text, opens))

    def _follow(self, line: SocketLine) -> None:
        followed = self._followed = Followed(line, self._news.look.report.time)
        self._push(Reading("one socket, from look to look", lambda _: pairs_text(list(followed.text()))))
        self._watch.want(follow_query(line.cookie))

    def _push(self, reading: Reading) -> None:
        def left(_: None) -> None:
            self._reading = None
            if self._followed is not None:
                self._followed = None
                self._watch.want(self._place.asked if self._place.view is View.SOCKETS else None)

        self._reading = reading
        self.push_screen(reading, left)

    def action_view(self, name: str) -> None:
        """One of the views, from any place."""
        self._places = [_Place(view=View(name))]
        self._arrive()

    def action_next_view(self, step: int) -> None:
        """The one beside it."""
        at = TABS.index(self._places[0].view)
        self.action_view(TABS[(at + step) % len(TABS)].value)

    def action_leave(self) -> None:
        """Drop the filter, or go back to where this was opened."""
        place = self._place
        if self.query_one("#filter").display or place.typed:
            place.words = place.typed = ""
            place.asked = place.query
            self._arrive()
        elif len(self._places) > 1:
            self._places.pop()
            self._arrive()

    def action_filter(self) -> None:
        """Type words."""
        line = self.query_one("#filter", Input)
        keys = f" and {'= '.join(KEYS)}=" if self._place.view is View.SOCKETS else ""
        line.placeholder = f"words that must be in a row{keys}; Enter keeps them, Escape drops them"
        line.value = self._place.typed
        line.display = True
        self.screen.set_focus(line)

    def on_key(self, event: Key) -> None:
        """What is typed so quickly that it was on its way to the table belongs to the filter."""
        line = self.screen_stack[0].query_one("#filter", Input)
        if line.display and event.character is not None and event.is_printable:
            line.insert_text_at_cursor(event.character)

    @on(Input.Changed)
    def _narrow(self, changed: Input.Changed) -> None:
        place = self._place
        if not self.query_one("#filter").display:
            return
        place.typed = changed.value
        if place.view is not View.SOCKETS:
            place.words = changed.value
        self._fill()

    @on(Input.Submitted)
    def _keep(self, submitted: Input.Submitted) -> None:
        place = self._place
        place.typed = submitted.value
        if place.view is View.SOCKETS:
            try:
                place.asked, place.words = narrow(place.query, submitted.value)
            except UsageError as error:
                self._say("title", Text(printable(str(error)), "bold red"))
                return
        self._arrive()

    def _close_filter(self) -> None:
        line = self.screen_stack[0].query_one("#filter", Input)
        if line.display:
            line.display = False
            self.screen_stack[0].set_focus(self.screen_stack[0].query_one(Rows))

    def action_sort(self) -> None:
        """By the next column."""
        place = self._place
        table = listing(place.view, self._news.look, self._trend, None)
        place.sort = ((table.sort if place.sort is None else place.sort) + 1) % len(table.columns)
        place.reverse = False
        self._fill()

    def action_reverse(self) -> None:
        """The other way round."""
        self._place.reverse = not self._place.reverse
        self._fill()

    def action_pause(self) -> None:
        """Look no more, or again."""
        self._watch.pause(paused=not self._watch.paused)
        self._show_head()

    def action_help(self) -> None:
        """The keys, and what the columns mean."""
        self._push(Reading("keys", lambda _: Text(HELP)))
