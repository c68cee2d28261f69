"""What `sockwatch explain test` says: the alert that somebody sends to try a sink."""

TEXT = """\
Somebody tried a sink: nothing is wrong.

What it sees:
Nothing. `sockwatch run --test-alert SINK` sent it, as an alert that fires and, at once, as one that is over.

Why it matters:
It reached you, so alerts of this sink do.

What to do:
Nothing.
"""
