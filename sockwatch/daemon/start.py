"""From the command line to a running daemon: what it says first, and what it must have."""

import asyncio
import logging
import os
from collections.abc import Callable, MutableMapping

from sockwatch import __version__
from sockwatch.clock import Clock
from sockwatch.daemon.health import Health
from sockwatch.daemon.log import log_mistakes, start_log
from sockwatch.daemon.loop import COULD_NOT, Daemon, Surroundings
from sockwatch.daemon.poller import Setup
from sockwatch.daemon.privileges import capabilities, missing, user
from sockwatch.daemon.service_manager import ServiceManager
from sockwatch.daemon.state_directory import StateDirectory, state_directory
from sockwatch.errors import SockwatchError
from sockwatch.pipeline import Source

_log = logging.getLogger(__name__)


def run_daemon(
    load: Callable[[], Setup],
    source_of: Callable[[str], Source],
    *,
    environment: MutableMapping[str, str],
    clock: Clock,
) -> int:
    """Watch until a signal ends it, and return the exit code."""
    start_log(environment)
    manager = ServiceManager(environment)
    try:
        setup = load()
        _log.info("sockwatch %s, pid %d, user %s", __version__, os.getpid(), user())
        held = _announce_capabilities()
        state = _open_state(setup, environment)
        health = Health(capabilities=held, state_usable=state is not None, reloaded=clock.unixtime())
        around = Surroundings(
            clock=clock,
            load=load,
            source_of=source_of,
            manager=manager,
            health=health,
            state=state.path if state else None,
        )
        return asyncio.run(_serve(setup, around))
    except SockwatchError as error:
        log_mistakes(error)
        return COULD_NOT
    finally:
        manager.close()


async def _serve(setup: Setup, around: Surroundings) -> int:
    daemon = Daemon(setup, around)
    code = await daemon.run()
    if daemon.stuck:  # its thread may be in a system call that never returns
        os._exit(code)
    return code


def _announce_capabilities() -> frozenset[str] | None:
    held = capabilities()
    if held is None:
        _log.warning("capabilities unknown: /proc/self/status cannot be read")
        return None
    _log.info("capabilities %s", " ".join(sorted(held)) or "none")
    for sentence in missing(held):
        _log.warning("%s", sentence)
    return held


def _open_state(setup: Setup, environment: MutableMapping[str, str]) -> StateDirectory | None:
    """None, and a line in the log, where nothing can be kept: watching is worth more than remembering."""
    path = state_directory(setup.settings.state_directory, environment)
    if path is None:
        _log.warning(
            "this user has no home: alerts, outbox and history will not survive a restart; set state_directory"
        )
        return None
    try:
        state = StateDirectory(path)
    except OSError as error:
        _log.warning("%s: %s; alerts, outbox and history will not survive a restart", path, error.strerror)
        return None
    _log.info("state in %s", state.path)
    return state
