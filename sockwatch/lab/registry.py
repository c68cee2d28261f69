"""Every scenario, read from the folder: one module, one `SCENARIO`."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from sockwatch.lab import scenarios
from sockwatch.lab.scenario import Scenario


@cache
def load_scenarios() -> Mapping[str, Scenario]:
    """Every scenario by its name, sorted by name."""
    modules = (
        importlib.import_module(f"{scenarios.__name__}.{m.name}") for m in pkgutil.iter_modules(scenarios.__path__)
    )
    return {scenario.name: scenario for scenario in sorted((m.SCENARIO for m in modules), key=lambda s: s.name)}
