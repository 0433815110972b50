"""The examples of the README and of every page of the documentation run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import pytest

import envs

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
}
EXAMPLE = re.compile(r"(<!-- not run: .+? -->\n)?```python\n(.*?)```", re.S)
EXAMPLES = {page: [code for kept, code in EXAMPLE.findall(text) if not kept] for page, text in PAGES.items()}
"""By page. A comment `<!-- not run: why -->` before one leaves it out; after "Save this as `NAME.py`:" it is a file."""
SAVED = re.compile(r"Save this as `(\w+\.py)`:\n\n```python\n(.*?)```", re.S)
FILES = {name: code for text in PAGES.values() for name, code in SAVED.findall(text)}
FAMILY, MINE = FILES["slider.py"], FILES["mine.py"]
TEXT = "\n".join(PAGES.values())
SESSION = """
import dataclasses, json, sys, envs, metarl
point = envs.family("point").presets
point["finn2017"] = dataclasses.replace(point["finn2017"], horizon=20)
small = {"num_iterations": 1, "meta_batch_size": 2, "num_envs": 2, "quiet": True}
metarl.train("maml-point", "runs/maml", **small)  # what some pages begin with
metarl.train("rl2-bandit", "runs/memory", hidden_size=8, **small)
for page, examples in json.load(sys.stdin).items():
    names = {"__name__": "__main__"}
    for code in examples:
        exec(compile(code, page, "exec"), names)
"""


def run(*arguments, cwd, **options):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, **options)


@pytest.fixture
def with_own(tmp_path, monkeypatch, script):
    """Runs a script where slider.py and mine.py lie in the current folder and nobody has imported them yet."""
    (tmp_path / "slider.py").write_text(FAMILY)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: object) -> SimpleNamespace:
        try:
            return script(name, *arguments)
        finally:
            for module, family in {"slider": "slider", "mine": "cartpole-length"}.items():
                sys.modules.pop(module, None)
                if family in envs.FAMILIES:
                    del gymnasium.registry[envs.FAMILIES.pop(family).gym_id]

    return run


def test_python_examples_run(tmp_path):
    """Those of a page share a session, in which runs of SB3 and episodes on Point are cut short."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    pages = {page: [code for code in codes if code not in FILES.values()] for page, codes in EXAMPLES.items()}
    text = re.sub(r"\b\d0_000\b", "64", json.dumps({page: codes for page, codes in pages.items() if codes}))
    assert "to_sb3" in text and "from_sb3" in text
    result = run("-W", "error::DeprecationWarning:envs", "-c", SESSION, cwd=tmp_path, input=text)
    assert result.returncode == 0, result.stderr


def test_an_own_family_of_about_60_lines_gets_training_evaluation_video_and_gymnasium(with_own, tmp_path):
    lines = [line for line in FAMILY.splitlines() if line.strip()]
    assert len(lines) <= 65
    small = ["--meta-batch-size", "4", "--num-envs", "5", "--eval-num-envs", "5", "--num-iterations", "3"]
    session = ["--imports", "slider", "--num-threads", "1"]
    for name, arguments in {
        "train": ["maml-slider", "--run-dir", "runs/slider", *small],
        "evaluate": ["runs/slider", "--num-tasks", "6", "--num-steps", "1", "--split", "ood"],
        "record": ["runs/slider", "--num-tasks", "1", "--num-steps", "1", "--output", "slider.mp4"],
    }.items():
        result = with_own(name, *arguments, *session)
        assert result.status == 0, result.err
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


@pytest.mark.parametrize("method", ["maml", "reptile", "metanet", "rl2"])
def test_a_gymnasium_environment_is_trained_and_evaluated(with_own, method):
    sizes = ["--meta-batch-size", "2", "--num-envs", "2", "--num-iterations", "1", "--env.horizon", "20"]
    session = ["--num-threads", "1"]
    train = [f"{method}-cartpole-length", "--imports", "mine", *sizes, "--env.workers", "1", "--run-dir", "r"]
    result = with_own("train", *train, *session)
    assert result.status == 0, result.err
    assert "--imports" not in result.out
    result = with_own("evaluate", "r", "--num-tasks", "2", "--num-envs", "2", *session)
    assert result.status == 0 and "random" in result.out, result.err


def test_a_run_names_its_module_and_says_where_that_is_missing(with_own):
    train = ["maml-point", "--env", "slider", "--run-dir", "r", "--num-iterations", "1", "--meta-batch-size", "2"]
    assert with_own("train", *train, "--imports", "slider").status == 0
    Path("slider.py").unlink()
    result = with_own("evaluate", "r")
    assert result.status == 2
    assert "'slider'" in result.err and "r/config.json" in result.err


COMMANDS = re.findall(r"(?:^|`|&& )(?:python scripts/(\w+)\.py|(?:torchrun .* -m )?metarl (\w+)) (.*)", TEXT, re.M)
SCRIPT_OF = {"envs": "list_envs"}


@pytest.mark.parametrize("name", sorted({SCRIPT_OF.get(verb, verb) or script for script, verb, _ in COMMANDS}))
def test_every_option_that_these_pages_show_exists(name, with_own):
    """An option of training must be one of the preset that the line names."""
    options: dict[tuple[str, ...], set[str]] = {}
    for line in [rest for script, verb, rest in COMMANDS if name in (script, SCRIPT_OF.get(verb, verb))]:
        words = line.split("#")[0].split("`")[0].split("&&")[0].split()
        named = name == "train" and not words[0].startswith("-") and not words[0].isupper()
        preset = tuple(words[:1]) if named else ()
        options.setdefault(preset, set()).update(re.findall(r"--[\w.-]+", " ".join(words)))
    for preset, shown in options.items():
        if preset == () and name == "train":
            shown.discard("--resume")
        imports = ["--imports", "slider,mine"] if "--imports" in shown else []
        help_text = with_own(name, *preset, *imports, "--help").out
        assert {o for o in shown if o not in help_text} == set(), preset
