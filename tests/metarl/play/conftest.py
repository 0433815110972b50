from __future__ import annotations

import pytest
from agents import saved_run


@pytest.fixture(scope="package")
def runs(tmp_path_factory):
    """A folder with two runs: a policy with a memory on a gridworld, a gradient method on point."""
    folder = tmp_path_factory.mktemp("runs")
    saved_run(folder / "memory", "metanet", "gridworld")
    saved_run(folder / "gradient", "maml", "point")
    return folder
