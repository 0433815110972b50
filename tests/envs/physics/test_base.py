"""The physics seam: which scales an engine holds, and what its copies leave behind."""

from __future__ import annotations

import copy

import torch

from envs.physics.base import Binding, Physics


def test_scales_are_bound_anew_when_tensors_or_their_content_change():
    binding, mass = Binding(), torch.ones(2)
    assert not binding.changed({})
    assert binding.changed({"body_mass": mass}) and not binding.changed({"body_mass": mass})
    assert binding.changed({"body_mass": mass.clone()})
    assert binding.changed({"body_mass": mass})
    mass[0] = 2
    assert binding.changed({"body_mass": mass}) and not binding.changed({"body_mass": mass})
    assert binding.changed({"dof_damping": mass}) and binding.changed({})


class Still(Physics):
    """An engine that does not move."""

    def __init__(self) -> None:
        self.frame_skip, self._lanes = 5, {3: object()}

    def step(self, state, control, scales=None):
        raise NotImplementedError


def test_copies_go_without_the_buffers():
    engine = Still()
    other = copy.deepcopy(engine)
    assert other._lanes == {} and len(engine._lanes) == 1 and other.frame_skip == 5
