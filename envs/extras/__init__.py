"""Families of other packages, which are extras of this distribution. A package is imported once one of its families is
asked for, by a name such as `popgym-repeat-previous-easy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from envs.errors import require, unknown


@dataclass(frozen=True)
class Package:
    """What is known of a package that may be missing."""

    title: str
    example: str
    """One of its families."""
    install: str = ""
    """The command, where it is not the one for an extra."""


PACKAGES = {
    # No extra: it pins mujoco 3.3.0, and pip has no way to overrule a pin. All else that it needs is ours, too.
    "metaworld": Package("Meta-World", "metaworld-ml1", "pip install --no-deps metaworld==3.1.1"),
    "minigrid": Package("MiniGrid", "minigrid-fetch-5x5-n2"),
    "popgym": Package("POPGym", "popgym-repeat-previous-easy"),
}
"""By the name that the package, the extra, a module here and the first word of ids have in common.

The module has `names()`, the families without that word, and `family(name)`, what `envs.register` takes.
"""


def package_of(id: str) -> str | None:
    """The package that a family of that id is from; None for any other."""
    package = id.partition("-")[0]
    return package if package in PACKAGES and package != id else None


def is_installed(package: str) -> bool:
    return find_spec(package) is not None


def how_to_install(package: str) -> str:
    """The command."""
    return PACKAGES[package].install or f'pip install "metarl-toolkit[{package}]"'


def names(package: str) -> list[str]:
    """Every family of a package that is installed, without the package's own name."""
    return import_module(f"envs.extras.{package}").names()


def find(id: str) -> Any:
    """What `envs.register` takes for a family of one of these packages; None for any other id.

    Raises:
        InputError: where the package is missing, or has no such family.
    """
    package = package_of(id)
    if package is None:
        return None
    title = PACKAGES[package].title
    missing = f"The family {id!r} needs {title}, which is missing here"
    require(is_installed(package), f"{missing}; install it with: {how_to_install(package)}.")
    name = id.removeprefix(f"{package}-")
    if name not in names(package):
        raise unknown(f"environment of {title}", name, names(package))
    return import_module(f"envs.extras.{package}").family(name)
