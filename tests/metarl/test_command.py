"""The command `metarl`: its verbs, its help, and what it loads."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from metarl import __main__ as command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def metarl(monkeypatch, capfd):
    """Calls the command; returns its exit status, and what it printed."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["metarl", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command.main()
        return (end.value.code, *capfd.readouterr())

    return call


def test_the_help_fits_a_screen_and_names_every_verb(metarl):
    status, out, err = metarl("--help")
    assert (status, err) == (0, "") and len(out.splitlines()) <= 24 and max(map(len, out.splitlines())) <= 80
    assert all(f"  {verb} " in out for verb in command.VERBS)
    assert metarl("-h") == metarl("help") == (status, out, err)
    assert metarl() == (2, out, "")


def test_the_version(metarl):
    assert metarl("--version") == (0, f"metarl-toolkit {version('metarl-toolkit')}\n", "")


@pytest.mark.parametrize(("wrong", "nearest"), [("trian", "'train'"), ("eval", "'evaluate'"), ("list_envs", "'envs'")])
def test_an_unknown_verb_is_one_sentence_with_the_nearest(metarl, sentence, wrong, nearest):
    status, out, err = metarl(wrong, "maml-point")
    assert (status, out) == (2, "") and f"Did you mean {nearest}?" in sentence(err)


@pytest.mark.parametrize("verb", command.VERBS)
def test_every_verb_explains_itself(metarl, verb):
    assert import_module(command.VERBS[verb].module).main
    status, out, err = metarl(verb, "--help")
    assert (status, err) == (0, "") and f"metarl {verb}" in out


def test_a_run_from_training_to_a_report(metarl, tmp_path):
    run, small = tmp_path / "run", ["--num-iterations", 1, "--meta-batch-size", 2, "--num-envs", 2, "--num-threads", 1]
    status, out, _ = metarl("train", "rl2-bandit", "--run-dir", run, "--hidden-size", 4, *small)
    assert status == 0 and f"Next: metarl evaluate {run}" in out
    assert metarl("evaluate", run, "--num-tasks", 2, "--num-threads", 1)[0] == 0
    assert metarl("compare", run, "--output", tmp_path / "c.md")[0] == 0
    assert (run / "command.txt").read_text().startswith("metarl train rl2-bandit --run-dir")
    assert metarl("evaluate", tmp_path)[0] == 2


@pytest.mark.parametrize("argument", ["--help", "--version", "trian"])
def test_torch_is_not_loaded_before_a_verb_is_known(argument):
    code = f"import runpy, sys; sys.argv[1:] = [{argument!r}]\ntry: runpy.run_module('metarl', run_name='__main__')\n"
    code += "finally: print([x for x in ('torch', 'numpy', 'tyro', 'rich') if x in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.splitlines()[-1] == "[]"


def test_it_is_also_a_module():
    result = subprocess.run([sys.executable, "-m", "metarl", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.startswith("metarl-toolkit ")
