"""The stage: a private network namespace, a server and a client in it, and the story that is told as it happens."""

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from sockwatch.clock import Clock
from sockwatch.errors import ProvokeError
from sockwatch.lab.actor import Actor, Family, Role
from sockwatch.lab.namespace import enter_private_network, write_sysctl
from sockwatch.lab.packets import Tap
from sockwatch.lab.process import Player, start_player
from sockwatch.lab.witness import count_states, describe
from sockwatch.model.state import State

SETTLE_SECONDS = 10.0
"""How long the kernel gets to show the states that a scenario waits for."""
POLL_SECONDS = 0.02

Tell = Callable[[str | None, str], None]
"""Takes who did something (`server[123]`, or nobody in particular), and what; None begins a plain sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """An actor's link that tells the story of each verb and then shows the packets it caused."""

    role: Role
    player: Player
    tell: Tell
    tap: Tap

    def ask(self, verb: str, arguments: dict[str, Any], telling: str) -> Any:
        self.tell(f"{self.role}[{self.player.pid}]", telling)
        try:
            return self.player.ask(verb, arguments)
        except OSError as error:
            self.tell("", f"refused: {errno.errorcode.get(error.errno or 0, error)}")
            raise
        finally:
            _show_packets(self.tap, self.tell)


def _show_packets(tap: Tap, tell: Tell) -> None:
    for line in tap.read():
        tell("", line)


class Stage:
    """Where a scenario plays. Made in a process of its own, which it moves into the new namespace for good.

    Raises ProvokeError where the namespace cannot be made. Use it as a context manager: its end ends the actors.
    """

    def __init__(self, *, clock: Clock, tell: Tell, family: Family = Family.IPV4) -> None:
        self.clock = clock
        self._tell = tell
        self.family = family
        self.in_user_namespace = enter_private_network()
        self._players: dict[Role, Player] = {}
        self.tap = Tap()
        self.server = self._cast(Role.SERVER)
        self.client = self._cast(Role.CLIENT)

    def _cast(self, role: Role) -> Actor:
        hands = Actor(self.family)
        player = start_player(
            f"lab-{role}", lambda verb, arguments: getattr(hands, verb)(**arguments), tuple(self._players.values())
        )
        self._players[role] = player
        return Actor(self.family, _Told(role=role, player=player, tell=self._tell, tap=self.tap))

    @property
    def pids(self) -> Mapping[Role, int]:
        """Which process plays which part."""
        return {role: player.pid for role, player in self._players.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._players.values():
            player.end()
        self.tap.close()

    def kill(self, role: Role) -> None:
        """End a player's process with its sockets open; it can do nothing more."""
        player = self._players[role]
        self._tell(f"{role}[{player.pid}]", "is killed (SIGKILL), with its sockets open")
        os.kill(player.pid, signal.SIGKILL)  # the end of the stage waits for it

    def tell(self, sentences: str) -> None:
        """Say what is going on, in plain sentences."""
        self._tell(None, sentences)

    def set_sysctl(self, name: str, value: str) -> None:
        """Set a sysctl of the stage's namespace; the host keeps its own."""
        self._tell("sysctl", f"{name} = {value}")
        write_sysctl(name, value)

    def await_states(self, **wanted: int) -> None:
        """Wait until so many sockets are in each of these states, by their labels (`close_wait=23`), and tell all.

        A state that must have no sockets is given as 0. Raises ProvokeError when that does not come about.
        """
        deadline = self.clock.monotonic() + SETTLE_SECONDS
        states = {State[label.upper()]: count for label, count in wanted.items()}
        while True:
            counts = count_states()
            if all(counts[state] == count for state, count in states.items()):
                _show_packets(self.tap, self._tell)
                self._tell("states", describe(counts))
                return
            if self.clock.monotonic() > deadline:
                missing = describe(Counter(states))
                found = describe(counts)
                raise ProvokeError(
                    f"waited {SETTLE_SECONDS:.0f} s for {missing}, and there are {found}", by_chance=True
                )
            self.clock.wait(POLL_SECONDS)

    @contextmanager
    def refused(self, number: int) -> Iterator[None]:
        """What is done inside must fail with this errno; anything else is a ProvokeError."""
        try:
            yield
        except OSError as error:
            if error.errno == number:
                return
            raise ProvokeError(f"expected {errno.errorcode[number]}, the kernel said {error.strerror}") from error
        raise ProvokeError(f"expected {errno.errorcode[number]}, and the kernel allowed it")
