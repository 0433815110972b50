"""A script is ready for signals before it loads anything."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
PROGRAMS = sorted(path for folder in ("scripts", "experiments") for path in (SCRIPTS.parent / folder).glob("*.py"))
MAINS = [SCRIPTS.parent / "metarl" / "__main__.py", *(path for path in PROGRAMS if "run_main(main" in path.read_text())]


def start(script: str, torch: str, folder: Path, **options) -> subprocess.CompletedProcess:
    """Run a script where `import torch` runs the code given."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(f"import os, signal, sys, time\n{torch}\n")
    path = os.pathsep.join([str(folder), str(SCRIPTS.parent)])
    command = [sys.executable, SCRIPTS / script]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_torch_loads_ends_in_a_sentence(tmp_path, number, sentence):
    code = f"os.kill(os.getpid(), {int(number)}); time.sleep(5); sys.exit('it went on')"
    default = {"preexec_fn": lambda: signal.signal(number, signal.SIG_DFL)}
    result = start("train.py", code, tmp_path, **default)
    assert (result.returncode, result.stdout) == (128 + number, "")
    assert "while loading" in sentence(result.stderr)


@pytest.mark.parametrize("path", MAINS, ids=lambda path: path.name)
def test_every_script_is_ready_for_signals_before_it_loads_anything(path):
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    first = next(node for node in imports if getattr(node, "module", "") != "__future__")
    assert ast.unparse(first) == "import metarl.backend.starting"


def test_before_torch_nothing_heavy_is_loaded():
    heavy = ("torch", "numpy", "tyro", "rich")
    code = f"import sys, metarl.backend.starting; print([x for x in {heavy} if x in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert result.stdout.strip() == "[]", result.stderr
