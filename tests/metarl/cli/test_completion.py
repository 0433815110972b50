"""The completion of `metarl`, in bash itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from metarl.cli.completion import script


@pytest.fixture(scope="module")
def bash():
    return script("bash")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], {"train"}),
        (["train", "rl2-gridw"], {"rl2-gridworld"}),
        (["train", "maml-point", "--inner-l"], {"--inner-lr"}),
        (["train", "maml-point", "--env.hor"], {"--env.horizon"}),
        (["train", "--resu"], {"--resume"}),
        (["evaluate", "runs/mine", "--num-t"], {"--num-tasks", "--num-threads"}),
        (["evaluate", "--device", ""], {"auto", "cpu", "cuda"}),
        (["evaluate", "run"], set()),  # bash then offers the files
    ],
)
def test_what_is_offered(bash, words, offered):
    line = " ".join(f"'{word}'" for word in ["metarl", *words])
    ask = f'{bash}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _metarl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    result = subprocess.run(["bash", "-c", ask], capture_output=True, text=True)
    assert (result.stderr, set(result.stdout.split())) == ("", offered)


def test_zsh_reads_the_same(bash):
    assert script("zsh").endswith(bash) and "bashcompinit" in script("zsh")
