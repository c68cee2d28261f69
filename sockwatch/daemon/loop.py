"""The daemon: one event loop for what waits (signals, HTTP, the service manager), one thread that looks."""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockwatch.clock import Clock
from sockwatch.daemon.collector import LONGEST_WAIT, Collector
from sockwatch.daemon.health import Health, Part
from sockwatch.daemon.log import log_mistakes
from sockwatch.daemon.poller import HISTORY, Poller, Setup
from sockwatch.daemon.service_manager import ServiceManager
from sockwatch.daemon.verdict import verdict
from sockwatch.daemon.web import Web
from sockwatch.errors import UsageError
from sockwatch.export.history.reader import History
from sockwatch.export.web.published import Published
from sockwatch.pipeline import Source

STOPPED, BROKEN, COULD_NOT = 0, 1, 3
"""Exit codes: told to stop; something ended that must not, and a restart may help; a restart would not help."""
LOOK_SECONDS = 5.0
"""How long a poll that is under way may still take at the end."""
SEND_SECONDS = 8.0
"""And after that hooks and requests of sinks; with the last writes half of the unit's TimeoutStopSec at most."""
_IDLE_SECONDS = 0.5
"""How long a thread that reads the history and has nothing to do may take to end."""
_READER = "reader"
_PINGS = 4
"""In the watchdog's time, so that one may be left out."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the daemon gets from outside. `load` reads the config anew and raises UsageError where it is wrong."""

    clock: Clock
    load: Callable[[], Setup]
    source_of: Callable[[str], Source]
    manager: ServiceManager
    health: Health
    state: Path | None
    """A directory of our own, or None where there is none that can be used."""


class Daemon:
    """Runs on the event loop that made it, until a signal ends it."""

    def __init__(self, setup: Setup, around: Surroundings) -> None:
        self._around = around
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(thread_name_prefix=_READER)
        self._loop.set_default_executor(self._readers)  # for asyncio.to_thread()
        self._stop = asyncio.Event()
        self._told = self._ending = False
        self._reload = asyncio.Event()
        self._ready = asyncio.Event()
        self._published: Published | None = None
        self._web = Web(
            setup.settings.web,
            published=lambda: self._published,
            clock=around.clock,
            inherited=around.manager.inherited,
            history=None if around.state is None else History(around.state / HISTORY),
        )
        self._poller = Poller(
            setup,
            source_of=around.source_of,
            clock=around.clock,
            health=around.health,
            state=around.state,
            more=self._web.metrics,
        )
        watchdog = around.manager.watchdog_seconds
        self._collector = Collector(
            self._poller,
            interval=setup.settings.poll.interval,
            clock=around.clock,
            health=around.health,
            publish=self._publish,
            ended=lambda: self._tell_loop(self._stop.set),
            longest_wait=min(LONGEST_WAIT, watchdog / (2 * _PINGS)) if watchdog else LONGEST_WAIT,
        )

    async def run(self) -> int:
        """Return the exit code when all that can be ended has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._told_to_stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self._loop.set_exception_handler(self._unforeseen)
        self._web.start()
        self._announce(self._web.addresses)
        self._poller.start()
        self._collector.start()
        stop = asyncio.create_task(self._stop.wait())
        work = [asyncio.create_task(self._reload_when_told())]
        if self._around.manager.watchdog_seconds:
            work.append(asyncio.create_task(self._ping(self._around.manager.watchdog_seconds / _PINGS)))
        # Work that ends by itself has failed: better to end with it than to go on without a part.
        await asyncio.wait([stop, *work], return_when=asyncio.FIRST_COMPLETED)
        broken = not (self._told and self._collector.is_alive())
        await self._end()
        for task in (stop, *work):
            task.cancel()
        for outcome in await asyncio.gather(stop, *work, return_exceptions=True):
            if isinstance(outcome, Exception):
                _log.error("an error nobody foresaw", exc_info=outcome)
        return BROKEN if broken else STOPPED

    @property
    def stuck(self) -> bool:
        """Whether a thread that looks or reads did not end: only the end of the process ends it."""
        return self._collector.is_alive() or bool(_readers())

    def _announce(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            _log.info("listening on %s", address)

    def _told_to_stop(self) -> None:
        if self._told:  # the second time: at once
            os._exit(STOPPED)
        self._told = True
        self._stop.set()

    async def _end(self) -> None:
        self._ending = True
        self._around.manager.stopping()
        _log.info("stopping")
        self._collector.stop()
        with ThreadPoolExecutor(1) as ending:  # readers that hang may have taken all other threads
            await asyncio.gather(self._loop.run_in_executor(ending, self._end_polling), self._web.stop())
        self._readers.shutdown(wait=False, cancel_futures=True)
        left = _readers()
        for reader in left:
            reader.join(_IDLE_SECONDS / len(left))

    def _end_polling(self) -> None:
        self._collector.join(LOOK_SECONDS)
        if self._collector.is_alive():
            _log.warning("a look hangs and is left behind")
        self._poller.stop(SEND_SECONDS)

    def _publish(self, published: Published) -> None:
        """On the collector's thread: everybody who asks from now on gets this poll."""
        try:
            self._web.prepare(published)
        except Exception as error:  # noqa: BLE001 - it only saves time, and must not end the watching; logged and counted
            self._around.health.broke(Part.SERVER, error)
        self._published = published
        self._tell_loop(self._after_poll)

    def _after_poll(self) -> None:
        if self._published is None:
            return
        told = verdict(self._published.poll.report)
        self._around.manager.status(told)
        if not self._ready.is_set():
            self._ready.set()
            gc.freeze()  # what is loaded by now stays: to walk through it again and again costs milliseconds a poll
            self._around.manager.ready()
            blind = any(gap.fatal for gap in self._published.poll.report.gaps)  # then the log has said why
            _log.info("%s", "watching, though it cannot look yet" if blind else told)
        self._web.tell()

    def _unforeseen(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._around.health.broke(Part.SERVER, context.get("exception"), context["message"])

    def _tell_loop(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # it is closed: the process is about to end
            self._loop.call_soon_threadsafe(function)

    async def _ping(self, pause: float) -> None:
        """Tell the service manager that this loop and the collector's thread both move.

        At the end, which takes no longer than its own limits, the loop alone.
        """
        beats = -1
        while True:
            if self._ending or self._collector.beats != beats:
                beats = self._collector.beats
                self._around.manager.alive()
            await asyncio.sleep(pause)

    async def _reload_when_told(self) -> None:
        await self._ready.wait()
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._around.manager.reloading(self._loop.time())
            try:
                await self._use(self._around.load())
            except UsageError as error:
                self._around.health.reload_successful = False
                log_mistakes(error, "not reloaded: ")
            except Exception as error:  # noqa: BLE001 - a reload must not end the watching; logged and counted
                self._around.health.reload_successful = False
                self._around.health.broke(Part.RELOAD, error)
            else:
                self._around.health.works(Part.RELOAD)
                self._around.health.reload_successful = True
                self._around.health.reloaded = self._around.clock.unixtime()
                _log.info("reloaded")
            self._around.manager.ready()

    async def _use(self, setup: Setup) -> None:
        """Everything from this setup, or, where it raises an error, nothing."""
        before = self._web.addresses
        async with self._web.change(setup.settings.web):
            await asyncio.wrap_future(self._collector.go_on_with(setup))
        self._announce([address for address in self._web.addresses if address not in before])


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(_READER)]
