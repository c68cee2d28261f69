"""The config file: a frozen tree of settings, built from what each part of the program declares.

[poll]
interval = 5

[detectors.close_wait_leak]
min_age = 120

The keys of a table are the fields of a dataclass (sockwatch/model/settings.py, and each detector's Settings), so that a
new key needs nothing here.
"""

from sockwatch.config.load import Config, load

__all__ = ["Config", "load"]
