"""Meta-reinforcement learning on the task distributions of `envs`: algorithms, training, evaluation, videos.

Importing this package looks whether `envs` is ours, since many projects have a folder of that name.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec


def _check_envs() -> ModuleSpec:
    """Raise `ImportError` when `import envs` would find another package; that one's code is not run."""
    spec = find_spec("envs")
    if spec is None:
        raise ImportError("metarl needs the package envs of metarl-toolkit, which is not installed here.", name="envs")
    get_source = getattr(spec.loader, "get_source", None)  # a folder without __init__.py has no loader
    if 'DISTRIBUTION = "metarl-toolkit"' not in ((get_source and get_source("envs")) or ""):
        place = next(iter(spec.submodule_search_locations or [str(spec.origin)]))
        raise ImportError(
            f"metarl needs the package envs of metarl-toolkit, but Python finds another one first, {place}; "
            "rename that one or run from another folder.",
            name="envs",
        )
    return spec


def _bound_waiting(envs: ModuleSpec) -> None:
    """Import `envs.threads` without `envs`, which would load torch: what it sets must be there before."""
    spec = PathFinder.find_spec("envs.threads", envs.submodule_search_locations)
    if spec and spec.loader and spec.name not in sys.modules:
        sys.modules[spec.name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])


_bound_waiting(_check_envs())
