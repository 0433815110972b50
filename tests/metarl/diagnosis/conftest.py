"""Runs that every diagnosis may look at, trained once."""

from __future__ import annotations

import pytest
from diagnoses import trained

from metarl.algorithms.maml import MAMLConfig
from metarl.policies.mlp import MLPConfig
from metarl.training.run import Run


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Run:
    return trained(tmp_path_factory.mktemp("good") / "maml", MAMLConfig())


@pytest.fixture(scope="session")
def relu(tmp_path_factory) -> Run:
    return trained(tmp_path_factory.mktemp("relu") / "run", MAMLConfig(), MLPConfig((32, 32), "relu"))
