"""Importing metarl where `envs` is somebody else's package: one sentence, and their code is not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def import_metarl(folder: Path, *more: Path) -> subprocess.CompletedProcess:
    """`import metarl` with these folders on the path and no installed packages; metarl is reached by a link."""
    link = folder / "linked"
    link.mkdir()
    (link / "metarl").symlink_to(ROOT / "metarl")
    code = f"import sys; sys.path[:0] = {[str(p) for p in (folder, *more, link)]}; import metarl; print('fine')"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=folder, env=clean)


@pytest.mark.parametrize("files", [{"envs/__init__.py": "print('run')"}, {"envs/maze.py": "x = 1"}, {"envs.py": ""}])
def test_another_envs_is_named_with_its_place(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    result = import_metarl(tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    place = tmp_path / ("envs.py" if "envs.py" in files else "envs")
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: metarl needs the package envs of metarl-toolkit, but Python finds another one first, {place}; "
        "rename that one or run from another folder."
    )


@pytest.mark.parametrize("command", [["-m", "metarl", "envs"], [str(ROOT / "scripts" / "list_envs.py")]])
def test_a_command_says_it_without_a_traceback(tmp_path, sentence, command):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (result.returncode, result.stdout) == (2, "")
    assert str(tmp_path / "envs") in sentence(result.stderr)


@pytest.mark.parametrize("module", ["metarl.train", "metarl.training.run", "metarl.cli.evaluate"])
def test_a_module_is_no_program_and_names_the_command(module, sentence):
    result = subprocess.run(
        [sys.executable, "-m", module, "maml-point", "--seed", "1 2"], capture_output=True, text=True, cwd=ROOT
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{module} is no program" in sentence(result.stderr) and "metarl --help" in result.stderr


def test_a_program_of_another_package_may_import_metarl(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").write_text("import metarl")
    (tmp_path / "own" / "main.py").write_text("print('fine')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "own.main", "x"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.stdout == "fine\n", result.stderr


def test_no_envs_at_all_is_told(tmp_path):
    result = import_metarl(tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ImportError: metarl needs the package envs of metarl-toolkit")


def test_a_folder_without_code_does_not_hide_ours(tmp_path):
    """Python prefers a package, wherever on the path, to a folder that has no __init__.py."""
    (tmp_path / "envs").mkdir()
    assert import_metarl(tmp_path, ROOT).stdout == "fine\n"


def test_metarl_alone_loads_nothing_heavy():
    code = "import sys, metarl; print(sorted({'torch', 'numpy', 'gymnasium', 'envs'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "[]\n"
