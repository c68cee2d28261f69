"""sockwatch: which TCP bug, in which process, on which side, since when, and what to do now."""

__version__ = "0.1.0"
