"""Who may import whom: `envs` stands alone, and `metarl` knows the interface of an environment, never a family."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = (
    "contract",
    "core",
    "describing",
    "extras",
    "structs",
    "errors",
    "fields",
    "kinds",
    "flat_images",
    "files",
    "proxy",
    "registry",
    "tasks",
    "threads",
)
INTERFACE = {"envs", *(f"envs.{name}" for name in NAMES)}
SOURCES = sorted(path for package in ("envs", "metarl") for path in (ROOT / package).rglob("*.py"))


def imports(source: str) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported(nodes: list[ast.Import | ast.ImportFrom]) -> set[str]:
    """Full names of the modules that a source imports, wherever in it. `from envs import x` counts as `envs`."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, "imports are absolute here"
            names.add(node.module or "")
    return names


@cache
def imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    return imports(path.read_text())


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(imports_of(path))}


def test_the_import_reader_sees_every_form():
    source = "import a.b as c\nfrom d.e import f\ndef g():\n    import h\n    from i import j"
    assert imported(imports(source)) == {"a.b", "d.e", "h", "i"}


def test_the_sources_are_found():
    assert {path.parent.name for path in SOURCES} >= {"envs", "adapters", "metarl", "algorithms"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_architecture(path):
    package = path.relative_to(ROOT).parts[0]
    if package == "envs":
        assert not roots(path) & {"metarl", "scripts"}
    else:
        from_envs = {name for name in imported(imports_of(path)) if name.split(".")[0] == "envs"}
        adapter = {"envs.adapters.sb3"} if path.stem.startswith("sb3_") else set()
        assert from_envs <= INTERFACE | adapter
        for node in imports_of(path):  # `from envs import point` would reach a family through the package
            if isinstance(node, ast.ImportFrom) and node.module == "envs":
                assert not {f"envs.{a.name}" for a in node.names} & (submodules("envs") - INTERFACE)
        assert not roots(path) & {"scripts", "mujoco", "mujoco_warp", "warp"}
    if path.name not in ("sb3.py", "sb3_convert.py"):
        assert "stable_baselines3" not in roots(path)


FLOORS = (
    {"backend", "figures"},
    {"policies"},
    {"learning"},
    {"algorithms"},
    {"training"},
    {"evaluation", "agent"},
    {"video", "diagnosis", "study", "play"},
    {"cli"},
)
"""Rooms of metarl from the ground up: a room imports from those below it and from itself."""


INNER = sorted((ROOT / "metarl").glob("*/**/*.py"))


@pytest.mark.parametrize("path", INNER, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_runs_down(path):
    room = path.relative_to(ROOT).parts[1]
    floor = next(k for k, rooms in enumerate(FLOORS) if room in rooms)
    allowed = {room}.union(*FLOORS[:floor])
    if room == "figures":
        allowed.add("backend")
    found = {name.split(".")[1] for name in imported(imports_of(path)) if name.startswith("metarl.")}
    assert found <= allowed


@cache
def submodules(package: str) -> set[str]:
    files = (ROOT / package).rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_them_and_using_envs_loads_no_heavy_library():
    code = """
import sys, gymnasium, envs
gymnasium.make("metarl/Point-v0").reset(seed=0)
gymnasium.make_vec("metarl/Point-v0", num_envs=2).reset(seed=0)
envs.make("glyphs").references()
heavy = ["stable_baselines3", "mujoco", "mujoco_warp", "warp", "moviepy", "tensorboard", "matplotlib"]
print([name for name in ("metarl", *heavy) if name in sys.modules])
import metarl.training.presets, metarl.training.run, metarl.algorithms.sb3_ppo
print([name for name in heavy if name in sys.modules])
"""
    assert run(code).splitlines() == ["[]", "[]"]


def test_without_stable_baselines3_its_adapter_names_the_extra():
    code = """
import sys
sys.modules["stable_baselines3"] = None
import envs
from metarl.training.presets import preset
from metarl.training.run import Run

def adapter():
    import envs.adapters.sb3

def conversion():
    import metarl.algorithms.sb3_convert

def method():
    Run("unused", "sb3-ppo-point", preset("sb3-ppo-point"), envs.make_config("point"))

for use, error_class in ((adapter, ImportError), (conversion, ImportError), (method, envs.InputError)):
    try:
        use()
    except error_class as error:
        print(error)
"""
    assert run(code).splitlines() == ["Stable-Baselines3 is missing here; install metarl-toolkit[sb3]."] * 3


def test_the_front_door_is_cheap_until_it_is_used():
    code = """
import sys, metarl
print([name for name in ("torch", "numpy", "rich") if name in sys.modules])
assert {"new_run", "resume_run", "train", "evaluate", "record", "diagnose"} <= set(dir(metarl))
from metarl import evaluate
assert evaluate is metarl.evaluate and evaluate.__module__ == "metarl.api"
print([name for name in ("matplotlib", "moviepy", "scipy", "tyro") if name in sys.modules])
try:
    metarl.nonsense
except AttributeError as error:
    print(error)
"""
    assert run(code).splitlines() == ["[]", "[]", "module 'metarl' has no attribute 'nonsense'"]
