"""One scenario, one process: the namespace that it enters ends with it, and so does everything in it."""

import json
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from sockwatch.errors import ProvokeError, SockwatchError
from sockwatch.lab.namespace import die_with_parent, exit_now

TERMINATED = 143


def isolated(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, made of what JSON knows, from a process forked for it.

    Raises ProvokeError with the message of the SockwatchError that `work` raised, or if the process was killed.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _work(work, writer, parent)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as answers:
            answer = answers.read()
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        raise
    finally:
        os.waitpid(pid, 0)
    if not answer:
        raise ProvokeError("the process of the stage ended before the scenario did")
    result: dict[str, Any] = json.loads(answer)
    if "error" in result:
        raise ProvokeError(result["error"], by_chance=result["by_chance"])
    return result


def _work(work: Callable[[], dict[str, Any]], writer: int, parent: int) -> NoReturn:
    try:
        # Ctrl-C reaches every process of the terminal: the parent gets it, and ends this one with SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _leave)
        die_with_parent(parent, signal.SIGTERM)
        try:
            result = work()
        except SockwatchError as error:
            result = {"error": str(error), "by_chance": isinstance(error, ProvokeError) and error.by_chance}
        with os.fdopen(writer, "w", encoding="ascii") as answers:
            json.dump(result, answers)
    finally:
        exit_now()


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(TERMINATED)
