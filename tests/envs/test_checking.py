"""check_env tells the author of a family what breaks the contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from lines import ELSEWHERE, IN_ROLLOUTS, Line, LineConfig, has

import envs
from envs import InputError


def test_a_family_without_fault_passes():
    envs.check_env(Line(LineConfig(), torch.device("cpu")))


@pytest.mark.parametrize("fault", [*IN_ROLLOUTS, *ELSEWHERE])
def test_its_author_can_check_a_family(sentence, fault):
    env_class, words = {**IN_ROLLOUTS, **ELSEWHERE}[fault]
    with pytest.raises(InputError) as error:
        envs.check_env(env_class(LineConfig(), torch.device("cpu")), num_tasks=4 if fault in IN_ROLLOUTS else 3)
    assert words in sentence(error)


def test_an_oracle_is_one_of_the_references(sentence):
    with pytest.raises(InputError) as error:
        envs.check_env(has(oracle="nobody")(LineConfig(), torch.device("cpu")))
    assert "oracle" in sentence(error) and "'nobody'" in sentence(error)


def test_random_actions_need_bounds(sentence):
    env_class = has(action_space=spaces.Box(-np.inf, np.inf, (1,), np.float32))
    with pytest.raises(InputError) as error:
        envs.check_env(env_class(LineConfig(), torch.device("cpu")))
    assert "Broken.action_space has no bounds to draw from" in sentence(error)
