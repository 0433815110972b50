import pytest

import envs
from envs.extras import package_of


@pytest.fixture
def asked(monkeypatch):
    """No family of another package has been asked for, and those that a test asks for are forgotten after it."""
    families = {id: family for id, family in envs.FAMILIES.items() if package_of(id) is None}
    monkeypatch.setattr(envs.registry, "FAMILIES", families)
    monkeypatch.setattr(envs, "FAMILIES", families)
