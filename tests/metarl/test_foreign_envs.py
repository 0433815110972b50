"""Importing metarl where `envs` is somebody else's package: one sentence, and their code is not run."""

from __future__ import annotations

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
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=folder)


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
