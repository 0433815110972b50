"""The table of cases of `metarl benchmark`: names, what each measures, and the function that does, with its options."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import envs
from metarl.algorithms.outer import TRPOConfig
from metarl.cli.benchmark.lanes import MAKE, gymnasium_lanes
from metarl.cli.benchmark.measures import (
    frozen_lake,
    imports,
    locomotion,
    maml,
    memory,
    method,
    policy_steps,
    processes,
    steps,
)
from metarl.cli.session import has_engine
from metarl.training.presets import METHODS


class Row:
    """Cases of the table: an option in braces in their name varies over its values, and the others are the same."""

    def __init__(self, name: str, what: str, measure: Callable[..., dict[str, Any]], **options: Any) -> None:
        self.name, self.what, self.measure, self.options = name, what, measure, options

    def cases(self) -> dict[str, Row]:
        """Name -> a row of that case alone."""
        varied = {key: values for key, values in self.options.items() if f"{{{key}}}" in self.name}
        choices = [dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())]
        named = {self.name.format(**choice): {**self.options, **choice} for choice in choices}
        return {name: Row(name, self.what, self.measure, **options) for name, options in named.items()}


FAMILIES = tuple(envs.FAMILIES)
ROBOTS = tuple(family for family in FAMILIES if has_engine(envs.make_config(family)))
OTHERS = tuple(family for family in FAMILIES if family not in ROBOTS)
CHEETAH = ("half-cheetah-vel",)
SHARED = ("maml-point", "reptile-point", "metanet-gridworld")
ON_POINT = tuple(f"{name}-point" for name in METHODS)
FORMS = ("full", "ring", "linear", "delta", "none", "rl2")
LANES = (1, 64, 1024, 16384, 131072)

TABLE = (
    Row("imports", "a fresh interpreter imports torch, or envs", imports),
    Row("{family}@{lanes}", "steps under random actions", steps, family=FAMILIES, lanes=LANES),
    Row("{family}-policy@{lanes}", "the same with a policy", policy_steps, family=OTHERS, lanes=LANES[2:]),
    Row("gymnasium-frozen-lake@{lanes}", "Gymnasium's own FrozenLake, to compare", frozen_lake, lanes=LANES[:3]),
    Row(
        "{environment}-{way}@{lanes}",
        "Gymnasium's own in plain loops and in worker processes, one and two of each",
        gymnasium_lanes,
        environment=tuple(MAKE),
        way=("loop", "loops", "worker", "workers"),
        lanes=(400,),
    ),
    Row(
        "{environment}-async@{lanes}",
        "the same with a process for each lane",
        gymnasium_lanes,
        environment=tuple(MAKE),
        way="async",
        lanes=(16,),
    ),
    Row("{family}-rollout", "robots with a policy, beside a plain C loop", locomotion, family=ROBOTS),
    Row("{family}-rollout-{lanes}", "the same with more lanes", locomotion, family=CHEETAH, lanes=(8192, 65536)),
    Row("maml", "MAML-TRPO on 2D navigation: 20 tasks, 20 episodes, one inner step", maml),
    Row("maml-{family}", "the same on 40 tasks of a robot", maml, family=CHEETAH, num_tasks=40),
    Row("maml-{num_tasks}-tasks", "maml with more tasks", maml, num_tasks=(40, 200)),
    Row("maml-{num_envs}-episodes", "maml with more episodes", maml, num_envs=(40,)),
    Row("maml-{inner_steps}-inner-steps", "maml with more inner steps", maml, inner_steps=(2, 3)),
    Row("{preset_name}", "a meta-iteration of a preset", method, preset_name=ON_POINT),
    Row("{preset_name}-processes-{count}", "metarl train with two shards", processes, preset_name=SHARED, count=(1, 2)),
    Row(
        "{preset_name}-processes-{count}",
        "the same on a robot, without pretraining",
        processes,
        preset_name=("maml-half-cheetah-vel",),
        count=(1, 2),
        pretrain_iterations=0,
    ),
    Row("{form}-bandit-{pulls}", "a memory on trials of one episode", memory, form=FORMS, pulls=(10, 100, 500)),
    Row("maml-point-one-shard", "metarl train with one shard", processes, preset_name="maml-point", count=1, shards=1),
    Row("maml-first-order", "maml without second derivatives", maml, estimator="first-order"),
    Row("maml-curvature-10-of-20", "curvature from half the episodes", maml, outer=TRPOConfig(curvature_episodes=10)),
    Row("maml-curvature-5-of-20", "curvature from a quarter", maml, outer=TRPOConfig(curvature_episodes=5)),
    Row("maml-no-groups", "maml with all tasks at once", maml, groups=False),
    Row("maml-plain", "the same with all derivatives by autograd", maml, groups=False, plain=True),
)
CASES = {name: case for row in TABLE for name, case in row.cases().items()}
RECORDED, COMPILED = (maml, method, memory, policy_steps), (method, memory)
"""What --graphs changes, and what --compile and --compile-acting do."""


def case(name: str) -> Row:
    """The case of that name; any other name is that of a preset."""
    return CASES.get(name) or Row(name, "a meta-iteration of a preset", method, preset_name=name)
