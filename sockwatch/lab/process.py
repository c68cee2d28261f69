"""The processes of the players: forked, told over a pipe what to do, and gone with the stage."""

import errno
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sockwatch.errors import ProvokeError
from sockwatch.lab.namespace import die_with_parent, exit_now, rename_process

MESSAGE_BYTES = 65536

Perform = Callable[[str, Mapping[str, Any]], object]
"""What a process does with the name of a verb and its arguments; it raises OSError as the kernel did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """The stage's end of one process."""

    name: str
    pid: int
    pipe: socket.socket

    def ask(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        """Have it done and return the result. Raises the verb's OSError, and ProvokeError if the process is gone."""
        try:
            self.pipe.send(json.dumps([verb, arguments]).encode())
            answer = self.pipe.recv(MESSAGE_BYTES)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:
            raise ProvokeError(f"the process {self.name} ended before it could {verb}")
        result, number = json.loads(answer)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return result

    def end(self) -> None:
        """Kill the process, wait for it, and close the pipe; the kernel closes its sockets."""
        self.pipe.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def start_player(name: str, perform: Perform, others: Sequence[Player]) -> Player:
    """Fork a process of that name, which does what it is asked until the stage is gone.

    `others` are those that were started before: the new process closes what it inherits of theirs.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stage = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Player(name=name, pid=pid, pipe=ours)
    try:
        die_with_parent(stage, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the stage ends its players
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        rename_process(name)
        for pipe in (ours, *(other.pipe for other in others)):
            pipe.close()
        _serve(theirs, perform)
    finally:
        exit_now()


def _serve(pipe: socket.socket, perform: Perform) -> None:
    while request := pipe.recv(MESSAGE_BYTES):
        verb, arguments = json.loads(request)
        try:
            answer = [perform(verb, arguments), None]
        except OSError as error:
            answer = [None, error.errno or errno.ETIMEDOUT]  # a socket's timeout has no errno
        pipe.send(json.dumps(answer).encode())
