"""MMER, the score of POPGym (Morad et al. 2023): the maximum over epochs of the mean episodic return in training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def mmer(rows: Iterable[Mapping[str, float]], steps: int) -> dict[str, float] | None:
    """MMER of a training log as its `value`, and the number of `epochs`; None where no epoch is complete.

    Meta-iterations are joined into epochs of the published length, since a maximum over shorter ones, which average
    fewer episodes, is larger by chance. Steps that make no whole epoch at the end are left out.

    Args:
        rows: metrics of meta-iterations, in order.
        steps: environment steps that an epoch has at least.
    """
    means: list[float] = []
    epoch: list[float] = []
    begun = 0.0
    for row in rows:
        epoch.append(float(np.mean([value for name, value in row.items() if name.startswith("return_")])))
        if row["env_steps"] - begun >= steps:
            means.append(float(np.mean(epoch)))
            epoch, begun = [], row["env_steps"]
    return {"value": max(means), "epochs": len(means), "epoch_steps": steps} if means else None
