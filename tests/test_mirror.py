"""Tests mirror the source: every module has its test file of the same name in the same place."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT)
    for package in ("envs", "metarl")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)
TESTED_ELSEWHERE = {
    "metarl/__main__.py": "test_command.py",
    "metarl/cli/verbs.py": "test_command.py",
    "metarl/cli/train.py": "../scripts/test_scripts.py",
    "metarl/cli/record.py": "video/test_record.py",
    "metarl/cli/benchmark/cases.py": "cli/benchmark/test_command.py",
    "metarl/backend/errors.py": "training/test_loop.py",  # two exceptions without code
    "metarl/policies/recurrent.py": "policies/test_metanet.py",  # what its concrete networks share
}
"""Modules without a test file of their own: the file below tests/metarl that tests them."""


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_test_file(module):
    own = ROOT / "tests" / module.with_name(f"test_{module.name}")
    elsewhere = TESTED_ELSEWHERE.get(module.as_posix())
    assert own.exists() if elsewhere is None else (ROOT / "tests/metarl" / elsewhere).exists() and not own.exists()
