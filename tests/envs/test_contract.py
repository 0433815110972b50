"""What breaks the contract of Env is named where a family is made and at the first step behind an adapter."""

from __future__ import annotations

import gymnasium
import pytest
from lines import IN_DESCRIPTION, IN_ROLLOUTS, LineConfig

import envs
from envs import InputError


@pytest.mark.parametrize("fault", IN_DESCRIPTION)
def test_what_is_described_wrongly_is_not_made(monkeypatch, sentence, fault):
    env_class, words = IN_DESCRIPTION[fault]
    monkeypatch.setitem(envs.FAMILIES, "line", envs.Family("line", "metarl/Line-v0", env_class, {"a": LineConfig()}))
    with pytest.raises(InputError) as error:
        envs.make("line")
    assert words in sentence(error)


def test_adapters_check_their_first_step(monkeypatch):
    for fault in ("rewards in float64", "obs of more numbers", "first obs in float64", "tasks as a dict"):
        env_class, _ = IN_ROLLOUTS[fault]
        family = envs.Family("line", "metarl/Line-v0", env_class, {"a": LineConfig()})
        monkeypatch.setitem(envs.FAMILIES, "line", family)
        env = gymnasium.make(envs.family("point").gym_id).unwrapped  # an adapter, of which only the family changes
        env.__init__("line")
        with pytest.raises(InputError, match=r"Broken\."):
            env.reset(seed=0)
            env.step(env.action_space.sample())
