"""The README's examples run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
FAMILY = next(block for block in BLOCKS if block.startswith('"""slider.py'))


def run(*arguments, cwd):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)


def test_python_examples_run(tmp_path):
    """The examples share a session, in which the SB3 run is cut short."""
    program = "\n".join(block for block in BLOCKS if block is not FAMILY).replace("50_000", "64")
    result = run("-W", "error::DeprecationWarning:envs", "-c", program, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_an_own_family_of_about_60_lines_gets_training_evaluation_video_and_gymnasium(tmp_path):
    lines = [line for line in FAMILY.splitlines() if line.strip()]
    assert len(lines) <= 65
    (tmp_path / "slider.py").write_text(FAMILY)
    small = ["--meta-batch-size", "4", "--num-envs", "5", "--eval-num-envs", "5", "--num-iterations", "3"]
    session = ["--imports", "slider", "--num-threads", "1"]
    for script, arguments in {
        "train.py": ["maml-slider", "--run-dir", "runs/slider", *small],
        "evaluate.py": ["runs/slider", "--num-tasks", "6", "--num-steps", "1", "--split", "ood"],
        "record.py": ["runs/slider", "--num-tasks", "1", "--num-steps", "1", "--output", "slider.mp4"],
    }.items():
        result = run(str(ROOT / "scripts" / script), *arguments, *session, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs/slider/evaluation-ood.json").exists()
    assert (tmp_path / "slider.mp4").stat().st_size > 1000
    check = (
        "import slider, gymnasium; from gymnasium.utils.env_checker import check_env;"
        "check_env(gymnasium.make('metarl/Slider-v0').unwrapped, skip_render_check=True);"
        "from envs.adapters.sb3 import make_sb3; lanes = make_sb3('slider', 4, seed=0);"
        "assert lanes.reset().shape == (4, 1); assert len(lanes.env_method('sample_tasks', 2, seed=0)[0]) == 2"
    )
    result = run("-W", "error", "-c", check, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_run_of_an_own_family_without_its_module_says_what_is_missing(tmp_path):
    (tmp_path / "slider.py").write_text(FAMILY)
    train = [str(ROOT / "scripts/train.py"), "maml-point", "--env", "slider", "--run-dir", "r", "--num-iterations", "1"]
    assert run(*train, "--imports", "slider", "--meta-batch-size", "2", cwd=tmp_path).returncode == 0
    result = run(str(ROOT / "scripts/evaluate.py"), "r", cwd=tmp_path)
    assert result.returncode == 2
    assert "'slider'" in result.stderr and "--imports" in result.stderr


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/(\w+\.py)", README))))
def test_every_option_that_the_readme_shows_exists(script, tmp_path):
    """An option of train.py must be one of the preset that the line names."""
    (tmp_path / "slider.py").write_text(FAMILY)
    options: dict[tuple[str, ...], set[str]] = {}
    for line in re.findall(rf"python scripts/{script} (.*)", README):
        words = line.split("#")[0].split()
        preset = tuple(words[:1]) if script == "train.py" and not words[0].startswith("-") else ()
        options.setdefault(preset, set()).update(re.findall(r"--[\w.-]+", " ".join(words)))
    for preset, shown in options.items():
        if preset == () and script == "train.py":
            shown.discard("--resume")
        imports = ["--imports", "slider"] if "--imports" in shown else []
        help_text = run(str(ROOT / "scripts" / script), *preset, *imports, "--help", cwd=tmp_path).stdout
        assert {o for o in shown if o not in help_text} == set(), preset
