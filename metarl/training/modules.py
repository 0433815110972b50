"""Modules of one's own, which register families: those that --imports names, and a run's config.json after that."""

from __future__ import annotations

import importlib
import os
import sys

from envs.errors import InputError, require


def load(names: str, named_by: str = "--imports") -> None:
    """Import modules, joined by commas, also from the current folder. Raises `InputError`.

    Args:
        named_by: where their names stand, for errors.
    """
    modules = [name for name in names.split(",") if name]
    if modules:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        importable = all(part.isidentifier() for part in name.split("."))
        require(importable, f"{named_by} takes names of modules, such as my_family, and {name!r} is none.")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise InputError(f"{named_by} {name}: there is no module {error.name!r} here or on the path.") from None
