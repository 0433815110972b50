"""Does a run fit into memory? A lower bound, checked before training, and words for what Python and torch raise."""

from __future__ import annotations

import os
import re

import torch

from envs.core import Env
from envs.errors import require
from metarl.backend import distributed
from metarl.training.config import Algorithm, TrainConfig

TOO_LARGE = re.compile(
    r"can't allocate|out of memory|not enough memory|size calculation overflowed|overflow when unpacking|"
    r"integer multiplication overflow|maximum allowed dimension|array is too big|int too (big|large) to convert|"
    r"cannot fit 'int'",
    re.IGNORECASE,
)


def too_large(error: BaseException) -> str | None:
    """What an error says if it means that something does not fit into memory, else None."""
    if not isinstance(error, MemoryError) and not TOO_LARGE.search(str(error)):
        return None
    found = re.search(r"allocate (\d+) bytes", str(error))
    amount = gigabytes(int(found[1])) if found else None
    if found := re.search(r"allocate ([\d.]+) ([KMGTPE]iB)", str(error)):
        amount = f"{float(found[1]):g} {found[2]}"
    what = f"a single array of {amount} does not fit" if amount else "an array of that size cannot be made"
    return f"There is not enough memory: {what}; choose smaller sizes, such as fewer tasks or episodes at a time"


def check_room(config: TrainConfig, env: Env, algorithm: Algorithm) -> None:
    """Raise `InputError` when a meta-iteration needs more memory than the device has in all.

    This counts what trajectories hold of each step, at least: observation, action, reward and mask; parameters with
    their gradients, one set for each task where tasks have their own; and what else a method holds, such as a replay.
    """
    options = config.algorithm
    sizes = [env.observation_space, env.action_space]
    per_step = sum(int(torch.Size(space.shape or ()).numel()) for space in sizes) + 2
    tasks = -(-config.meta_batch_size // distributed.world_size())
    sets = tasks if options.params_per_task else 1
    episodes = options.most_episodes(config.num_envs)
    steps = options.num_played(tasks) * episodes * env.horizon
    held, what = algorithm.held(env, tasks)
    needed = 4 * (steps * per_step + 2 * sets * algorithm.params.numel()) + held
    most = device_memory(env.device)
    require(
        needed <= most,
        f"A meta-iteration of {tasks:,} tasks, {episodes:,} episodes of each and {env.horizon:,} steps"
        f"{what and f', with {what},'} needs {gigabytes(needed)} of memory at least, and there are "
        f"{gigabytes(int(most))}; choose smaller sizes.",
    )


def device_memory(device: torch.device) -> float:
    """Bytes in all; infinity where that is not told."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on this system
        return float("inf")


def gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 10**15 else f"{count // 10**9:.0e} GB".replace("e+", "e")
