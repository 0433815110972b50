import pytest

import envs


@pytest.fixture
def asked(monkeypatch):
    """Families that a test asks for are forgotten after it."""
    monkeypatch.setattr(envs.registry, "FAMILIES", families := {**envs.FAMILIES})
    monkeypatch.setattr(envs, "FAMILIES", families)
