"""Screens with text: a finding in full, a socket that is followed, and the keys."""

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

HELP = """\
1 to 7, Tab      the views: findings, states, processes, peers, ports,
                 listeners, budgets of source ports
Enter            open: a finding in full, the sockets of a group, one socket
                 to follow from look to look
Escape           back, or drop the filter
/                filter: words that must be in a row; in a list of sockets also
                 state=close_wait port=443 process=nginx peer=10.0.0.0/8
                 netns=host min_age=60; side=local or side=remote with a port
s, r             sort by the next column; turn the order round
Right, Left      columns that do not fit
p                stop looking, and go on
q                quit

Processes are known of sockets that are listed, that a finding is about, or that
were there when all holders were last asked for (once a minute); "-" is a socket
that no process holds, as all in TIME_WAIT.
CLOSING is fin_wait_1, fin_wait_2, closing and last_ack together. OLD are sockets
that have been closing for long, IN FINDINGS those of warnings and worse. The age
of a socket is how long it has surely been in its state.
"""


class Reading(Screen[None]):
    """Text that scrolls; `text` gives it for a width. Enter opens what belongs to it, if anything does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "leave", "Back"),
        Binding("enter", "open", "Its sockets"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, title: str, text: Callable[[int], Text], open_it: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._heading = title
        self._text = text
        self._open = open_it

    def compose(self) -> ComposeResult:
        """A heading, the text, the keys."""
        yield Static(Text(self._heading, style="bold"), id="heading")
        with VerticalScroll():
            yield Static(id="text")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Show it."""
        self.renew()

    def on_resize(self) -> None:
        """Another width."""
        self.renew()

    def renew(self) -> None:
        """The text may be another now."""
        if self.is_mounted:
            self.query_one("#text", Static).update(self._text(max(self.size.width - 2, 20)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter is only offered where it opens something."""
        return self._open is not None if action == "open" else super().check_action(action, parameters)

    def action_leave(self) -> None:
        """Back to the table."""
        self.dismiss()

    def action_open(self) -> None:
        """Leave for what belongs to it."""
        if self._open is not None:
            self.dismiss()
            self._open()


def pairs_text(pairs: list[tuple[str, str]]) -> Text:
    """Labels and texts below each other."""
    text = Text()
    for label, said in pairs:
        text.append(f"{label:<12}", "dim")
        text.append(f"{said}\n")
    return text
