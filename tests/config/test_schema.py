import json
import re
import tomllib
from typing import Any

import jsonschema
import pytest

from sockwatch.config.document import example
from sockwatch.config.schema import schema
from sockwatch.diagnose.registry import load_detectors

DEFAULTS = {code: detector.settings for code, detector in load_detectors().items()}
SCHEMA = json.loads(json.dumps(schema(DEFAULTS)))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_it_takes_the_example() -> None:
    VALIDATOR.validate(tomllib.loads(re.sub(r"^# ", "", example(DEFAULTS), flags=re.MULTILINE)))
    VALIDATOR.validate({})


@pytest.mark.parametrize(
    "tree",
    [
        {"x": 1},
        {"detectors": {"x": {}}},
        {"detectors": {"close_wait_leak": {"min_age": "1"}}},
        {"detectors": {"close_wait_leak": {"min_age": -1}}},
        {"detectors": {"closing_stuck": {"share": 0}}},
        {"poll": {"interval": 0}},
        {"poll": {"namespaces": ".."}},
        {"web": {"listen": ["127.0.0.1"]}},
        {"web": {"listen": "127.0.0.1:1"}},
        {"alerts": {"severity": "info"}},
        {"alerts": {"for_": 1}},
        {"alerts": {"silences": {}}},
        {"alerts": {"silences": [{"until": "tomorrow"}]}},
        {"sinks": {"a b": {"type": "exec", "command": ["/bin/true"]}}},
        {"sinks": {"a": {"command": ["/bin/true"]}}},
        {"sinks": {"a": {"type": "exec"}}},
        {"sinks": {"a": {"type": "exec", "command": []}}},
        {"sinks": {"a": {"type": "webhook", "url": "ftp://h"}}},
        {"sinks": {"a": {"type": "webhook", "url": "http://h", "command": ["/bin/true"]}}},
        {"sinks": {"a": {"type": "alertmanager", "urls": []}}},
        {"sinks": {"a": {"type": "alertmanager", "urls": ["http://h"], "labels": {"__x": "y"}}}},
    ],
    ids=str,
)
def test_it_refuses_what_the_program_refuses(tree: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(tree)
