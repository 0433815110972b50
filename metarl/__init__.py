"""Meta-reinforcement learning on the task distributions of `envs`: algorithms, training, evaluation, videos.

    import metarl
    run = metarl.train("maml-point", "runs/point", inner_lr=0.05)
    metarl.evaluate(run)["adaptation"]["mean"]  # metarl.diagnose(run), metarl.record(run, "point.mp4")
    learner = metarl.load("runs/point").begin()  # acts and adapts in your own loop

Importing this package looks whether `envs` is ours, since many projects have a folder of that name. It also refuses
`python -m metarl.train` and its like: a module would end having done nothing. `python -m metarl train` is the command.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` gives, for editors
    from metarl.agent.load import load as load
    from metarl.api import compare as compare
    from metarl.api import diagnose as diagnose
    from metarl.api import evaluate as evaluate
    from metarl.api import record as record
    from metarl.api import train as train
    from metarl.training.start import new_run as new_run
    from metarl.training.start import resume_run as resume_run

_SCRIPTS = Path(__file__).parents[1] / "scripts"


def _module() -> str | None:
    """The module that Python looks for in order to run it (`python -m`), if it does."""
    return sys.orig_argv[-len(sys.argv)].removeprefix("-m") if sys.argv[:1] == ["-m"] else None


def _refuse_as_program() -> None:
    """End with a sentence where a module of this package is to be run, other than `python -m metarl`."""
    module = _module()
    if module is not None and module.startswith(f"{__name__}."):
        _end(f"{module} is no program, but a part of the library; metarl --help lists the commands.")


def _is_command() -> bool:
    """Is this `metarl`, `python -m metarl` or a file of scripts/?"""
    main = getattr(sys.modules["__main__"], "__file__", None)
    path = Path(main).resolve() if main else Path()
    return _module() == __name__ or path.parent == _SCRIPTS or path.stem == __name__


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
        if _is_command():
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

_HANDED_ON = {
    "load": "metarl.agent.load",
    "pretrained": "metarl.agent.pretrained",
    "new_run": "metarl.training.start",
    "resume_run": "metarl.training.start",
    **dict.fromkeys(("train", "evaluate", "record", "diagnose", "compare"), "metarl.api"),
}
"""Where the functions that people call stand, which load torch; see `__getattr__`."""


def __getattr__(name: str) -> Any:
    """A function of `_HANDED_ON`, imported when it is first asked for."""
    if name not in _HANDED_ON:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(_HANDED_ON[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HANDED_ON})
