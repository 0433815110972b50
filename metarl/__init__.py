"""Meta-reinforcement learning on the task distributions of `envs`: algorithms, training, evaluation, videos.

Importing this package looks whether `envs` is ours, since many projects have a folder of that name. It also refuses
`python -m metarl.train` and its like: the programs are in scripts/, and a module would end having done nothing.
"""

import shlex
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path

_SCRIPTS = Path(__file__).parents[1] / "scripts"


def _refuse_as_program() -> None:
    """End with a sentence where Python looks for a module of this package to run it (`python -m`)."""
    if sys.argv[:1] != ["-m"]:
        return
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    if module.split(".")[0] != __name__:
        return
    name = module.rpartition(".")[2]
    script = f"scripts/{name}.py" if (_SCRIPTS / f"{name}.py").exists() else "scripts/train.py"
    _end(f"{module} is no program, but a part of the library; run python {shlex.join([script, *sys.argv[1:]])}.")


def _end(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _check_envs() -> ModuleSpec:
    """Raise `ImportError` when `import envs` would find another package; that one's code is not run."""
    spec = find_spec("envs")
    if spec is None:
        raise ImportError("metarl needs the package envs of metarl-toolkit, which is not installed here.", name="envs")
    get_source = getattr(spec.loader, "get_source", None)  # a folder without __init__.py has no loader
    if 'DISTRIBUTION = "metarl-toolkit"' not in ((get_source and get_source("envs")) or ""):
        place = next(iter(spec.submodule_search_locations or [str(spec.origin)]))
        message = (
            f"metarl needs the package envs of metarl-toolkit, but Python finds another one first, {place}; "
            "rename that one or run from another folder."
        )
        main = getattr(sys.modules["__main__"], "__file__", None)
        if main and Path(main).resolve().parent == _SCRIPTS:
            _end(message)  # a program ends without a traceback
        raise ImportError(message, name="envs")
    return spec


def _bound_waiting(envs: ModuleSpec) -> None:
    """Import `envs.threads` without `envs`, which would load torch: what it sets must be there before."""
    spec = PathFinder.find_spec("envs.threads", envs.submodule_search_locations)
    if spec and spec.loader and spec.name not in sys.modules:
        sys.modules[spec.name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])


_refuse_as_program()
_bound_waiting(_check_envs())
