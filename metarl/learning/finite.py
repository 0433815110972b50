"""Numbers that are not finite, and whether they came from the environment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from envs.contract import family_name
from envs.core import Env
from metarl.backend.errors import NonFiniteError
from metarl.learning.rollout import Trajectory


def environment_fault(env: Env, trajectories: Sequence[Trajectory]) -> str | None:
    """A clause about non-finite numbers that the environment returned; None if they did not come from it.

    They did if all earlier actions were finite. This reads from the device: call it only when something is wrong.
    """
    for t in trajectories:
        wrong_action = _wrong(t.action, t.mask).int()  # [N, T, E]
        acted = wrong_action.cumsum(1)  # this step's action among them, which comes after its obs
        for field, before in {"obs": acted - wrong_action, "reward": acted}.items():
            wrong = _wrong(getattr(t, field), t.mask) & (before == 0)
            if bool(wrong.any()):
                step = int(wrong.any(2).any(0).int().argmax())
                where = "reset()" if field == "obs" and step % env.horizon == 0 else "step()"
                value = getattr(t, field)[wrong].flatten()
                value = float(value[~value.isfinite()][0])
                which = f"at step {step % env.horizon} of an episode" if where == "step()" else "at an episode's start"
                return f"{family_name(env)}.{where} must return finite numbers, and its {field} {which} was {value}"
    return None


def _wrong(x: Tensor, mask: Tensor) -> Tensor:
    """Valid steps [N, T, E] whose numbers are not all finite."""
    return (mask > 0) & ~x.isfinite().reshape(*mask.shape, -1).all(-1)


def check_environment(env: Env, trajectories: Sequence[Trajectory]) -> None:
    """Raise `NonFiniteError` where the environment returned numbers that are not finite."""
    finite = [t.returns.isfinite().all() & t.obs.isfinite().all() for t in trajectories]
    if not torch.stack(finite).all():
        fault = environment_fault(env, trajectories)
        if fault:
            raise NonFiniteError(f"{fault}.")
