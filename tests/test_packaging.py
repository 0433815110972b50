"""The wheel installs and works outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUFFIXES = (".py", ".xml", ".html", ".css", ".js", ".json", ".pt")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"  # a copy, so that no build folder appears in the checkout
    for package in ("envs", "metarl"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in SUFFIXES or path.name == "py.typed":
                target = source / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", out, source]
    subprocess.run(command, check=True)
    return next(out.glob("metarl_toolkit-*.whl"))


def test_the_wheel_holds_the_two_packages_whole_and_nothing_else(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    files = [p for package in ("envs", "metarl") for p in (ROOT / package).rglob("*") if p.suffix in SUFFIXES]
    assert names == {str(p.relative_to(ROOT)) for p in files} | {"envs/py.typed", "metarl/py.typed"}


def test_the_installed_wheel_adapts_a_policy_and_has_the_command_outside_the_checkout(wheel, tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", target, wheel]
    subprocess.run(install, check=True)
    program = f"""
import envs, gymnasium, metarl.training.config, torch
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.policies.mlp import MLPConfig, make_policy
from metarl.learning.rollout import collect
assert envs.__file__.startswith({str(target)!r}), envs.__file__
assert metarl.training.config.__file__.startswith({str(target)!r})
gymnasium.make("metarl/Point-v0", task={{"goal": [0.3, -0.2]}}).reset(seed=0)
envs.make("half-cheetah-vel")  # its model is found
env, generator = envs.make("point", horizon=5), torch.Generator().manual_seed(0)
policy = make_policy(env.observation_space, env.action_space, MLPConfig((4,)))
algorithm = MAML(MAMLConfig(), env, policy, generator)
task = env.sample_tasks(2, generator)
before = algorithm.params.clone()
algorithm.update(collect(env, policy, algorithm.params, task, algorithm.adapters(), 3, generator))
assert not torch.equal(before, algorithm.params)
print("adapted")
"""
    environment = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin", "MPLBACKEND": "Agg"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "adapted"
    small = ["--num-iterations=1", "--meta-batch-size=2", "--hidden-size=4", "--num-threads=1", "--device=cpu"]
    command = [sys.executable, target / "bin" / "metarl", "train", "rl2-bandit", *small]
    result = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "Next: metarl evaluate runs/rl2-bandit" in result.stdout, result.stderr
