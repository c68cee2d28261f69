"""Every detector, read from the folder: one module, one `DETECTOR`, its name the code."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from sockwatch.diagnose import detectors
from sockwatch.diagnose.detector import Detector


@cache
def codes() -> tuple[str, ...]:
    """The code of every detector, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(detectors.__path__)))


@cache
def load_detectors() -> Mapping[str, Detector[Any]]:
    """Every detector by its code, with default settings."""
    return {code: importlib.import_module(f"{detectors.__name__}.{code}").DETECTOR for code in codes()}


def explanation(code: str) -> str:
    """The docstring of the detector's module: what it sees, why it matters, when it is wrong, what to do."""
    return importlib.import_module(f"{detectors.__name__}.{code}").__doc__ or ""
