"""What is typed behind the slash: `key=value` narrows what is asked for, every other word what is shown."""

from dataclasses import replace

from starlette.datastructures import QueryParams

from sockwatch.export.tui.view import MOST_ROWS
from sockwatch.export.web.parameters import Parameters
from sockwatch.export.web.socket_query import Query, read_query

KEYS = ("state", "port", "side", "process", "peer", "netns", "min_age")
_FIELDS = {"state": ("states",), "port": ("port", "side"), "peer": ("peer", "peer_port")}


def narrow(query: Query, typed: str) -> tuple[Query, str]:
    """The query with what was typed, and the words that are left. Raises UsageError."""
    pairs = [tuple(word.split("=", 1)) for word in typed.split() if "=" in word]
    words = " ".join(word for word in typed.split() if "=" not in word)
    asked = read_query(Parameters(QueryParams([(k, v) for k, v in pairs]), KEYS, repeatable=("state",)))
    named = {field for key, _ in pairs for field in _FIELDS.get(key, (key,))}
    return replace(query, limit=MOST_ROWS, groups=0, **{name: getattr(asked, name) for name in named}), words


def describe(query: Query) -> str:
    """The conditions, as they could be typed."""
    conditions = [f"state={state.label}" for state in query.states]
    conditions += [f"port={query.port}"] if query.port is not None else []
    conditions += [f"side={query.side}"] if query.side is not None else []
    conditions += [f"process={query.process}"] if query.process is not None else []
    conditions += [f"peer={query.peer_text}"] if query.peer is not None else []
    conditions += [f"netns={query.netns}"] if query.netns is not None else []
    conditions += [f"min_age={query.min_age:g}"] if query.min_age is not None else []
    return " ".join(conditions)
