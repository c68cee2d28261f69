"""What somebody who looked at this machine says of a key of the config file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A mistake, or a `warning`: what may be meant so. `text` begins with the key."""

    at: tuple[str | int, ...]
    """Keys from the root on; a number is the place in an array of tables, from 0."""
    text: str
    warning: bool = False
