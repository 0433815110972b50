"""The peer in JAX."""

import pytest


def test_it_acts_and_learns():
    pytest.importorskip("jax")
    from metarl.cli.benchmark import jax_peer

    assert all(seconds > 0 for seconds in jax_peer.iteration())
