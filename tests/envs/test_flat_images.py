"""Images as vectors, the same numbers in the same order."""

from __future__ import annotations

import torch
from signs import PRESETS, Signs

from envs.flat_images import flat_images


def test_images_are_flattened_and_nothing_else_changes():
    env = Signs(PRESETS["small"], torch.device("cpu"))
    flat = flat_images(env)
    assert flat.observation_space.shape == (147,)
    task = env.sample_tasks(2, torch.Generator().manual_seed(0))
    seen = []
    for one in (env, flat):
        generator = torch.Generator().manual_seed(1)
        state, obs = one.reset(task, 3, generator)
        state, again = one.restart(torch.tensor([[True, False, True]] * 2), task, state, obs, generator)
        result = one.step(task, state, torch.zeros(2, 3, 2, dtype=torch.int64), generator)
        seen.append([x.flatten(2) for x in (obs, again, result.obs)])
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    assert flat_images(flat) is flat
