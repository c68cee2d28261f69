"""One misbehaviour a file, each ending in `SCENARIO`."""
