"""What programs do, healthy and sick: every module of this folder has SCENES."""

import importlib
import pkgutil
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from corpus.host import Scene


@cache
def load_scenes() -> Mapping[str, Scene]:
    """Every scene by its name."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {scene.name: scene for module in modules for scene in module.SCENES}


def missing_programs(scene: Scene) -> list[str]:
    """Which of the programs that the scene needs are not installed; one that is not in PATH is a pattern of paths."""
    return [program for program in scene.programs if not _is_installed(program)]


def _is_installed(program: str) -> bool:
    if program.startswith("/"):
        return any(Path("/").glob(program[1:]))
    return shutil.which(program) is not None
