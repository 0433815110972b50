"""Parameters of the gridworld."""

from __future__ import annotations

import pytest
from gridworlds import grid

import envs


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width": 0}, "width must be at least 1, not 0."),
        ({"horizon": 0}, "horizon"),
        ({"trial_episodes": 0}, "trial_episodes must be at least 1, not 0."),
        ({"width": 1, "height": 1}, "A board must have 2 to 10,000 cells, not 1."),
        ({"layout": "opn"}, "layout must be 'open', 'random-walls' or a drawing of '#', '.' and 'G', with rows ended"),
        ({"layout": ""}, "layout must be 'open', 'random-walls' or a drawing"),
        ({"layout": "...../.."}, "The rows of a drawn layout must all have the same length."),
        ({"layout": ".../..."}, "The drawn layout has 2 rows of 3 cells, so give height=2 and width=3."),
        (
            {"layout": ".#./##./...", "width": 3, "height": 3},
            "The layout has no path from the start [0, 0] to any goal.",
        ),
        ({"layout": "#../...", "width": 3, "height": 2}, "The start [0, 0] lies in a wall of the layout."),
        ({"start": (5, 0)}, "start"),
        ({"start": (0,)}, "start"),
        ({"start": (0.5, 1)}, "start"),
        ({"wall_fraction": 0.6}, "wall_fraction"),
        ({"slip": -0.1}, "slip"),
        ({"slip": float("nan")}, "slip"),
        ({"min_goal_distance": -1}, "min_goal_distance must be at least 0, not -1."),
        ({"permute_actions": True, "layout": "random-walls"}, "permute_actions"),
        ({"permute_actions": True, "held_out_every": 121}, "held_out_every"),
        ({"min_goal_distance": 9}, "The layout has no path from the start [0, 0] to any goal."),
        ({"max_goal_steps": -1}, "max_goal_steps"),
        ({"held_out_every": 1}, "held_out_every must be 0 (no goal is held out) or at least 3, not 1."),
        ({"held_out_every": 50}, "held_out_every must be at most the number of goals, 21, not 50."),
        ({"reward_goal": -0.1}, "reward_goal=-0.1 is not above -0.1."),
        ({"reward_step": float("nan")}, "reward_step"),
        ({"obs": "pixels"}, "obs"),
    ],
)
def test_a_wrong_parameter_is_answered_in_one_sentence(fields, said):
    with pytest.raises(envs.InputError) as caught:
        grid("varibad", **fields)
    message = str(caught.value)
    assert said in message and message.endswith(".") and "\n" not in message
