"""One step of a policy as an ONNX graph, to act where there is no PyTorch.

docs/export.md says what the graph reads and returns. PyTorch's exporter by tracing is used: it needs
no further package, and the one by torch.export (2.13, onnxscript 0.7) gave graphs whose numbers for policies with a
memory were wrong.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from envs.core import Env
from envs.errors import InputError, require
from envs.kinds import in_words, is_vector
from envs.structs import tensors_of, with_tensors
from metarl.algorithms.task_policy import TaskPolicy
from metarl.backend.files import write_atomically
from metarl.policies.distributions import Categorical, DiagGaussian, TanhGaussian
from metarl.policies.mlp import StepInput
from metarl.training.run import Run

INPUTS = ("obs", "prev_action", "prev_reward", "first", "mask")
OPSET = 18


class StepGraph(nn.Module):
    """`TaskPolicy.step` of one lane on tensors alone: the fields of `StepInput`, then those of the memory."""

    def __init__(self, policy: TaskPolicy, env: Env, memory: Any) -> None:
        super().__init__()
        self.policy, self.space, self.memory = policy, env.action_space, memory
        self.module = policy.module  # registered here, so that its parameters are the graph's
        self.discrete = isinstance(self.space, spaces.Discrete)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """-> the most probable action, the parameters of the distribution, and the memory."""
        inputs, memory = StepInput(*tensors[: len(INPUTS)]), with_tensors(self.memory, tensors[len(INPUTS) :])
        distribution, memory = self.policy.step(inputs, memory)
        action = distribution.mode()[0]
        if isinstance(distribution, Categorical):
            return action, distribution.log_probs[0], *tensors_of(memory)
        assert isinstance(distribution, DiagGaussian | TanhGaussian) and isinstance(self.space, spaces.Box)
        low, high = (torch.as_tensor(x) for x in (self.space.low, self.space.high))
        log_std = distribution.log_std.expand_as(distribution.mean)[0]
        return torch.clamp(action, low, high), distribution.mean[0], log_std, *tensors_of(memory)


@torch.no_grad()
def export_step(
    run: Run, env: Env, policy: TaskPolicy, lane: int, previous: tuple[Tensor, Tensor, Tensor], path: Path
) -> None:
    """Write the graph of a lane's next steps; see `Learner.export`.

    Args:
        env: as the policy sees it.
        previous: action, reward and start of an episode of each lane, as the next step is told them.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise InputError("The package onnx is missing here; install metarl-toolkit[onnx].") from None
    seen, acted = env.observation_space, env.action_space
    require(is_vector(seen), f"A graph takes vectors, and this policy sees {in_words(seen)}.")
    require(
        not isinstance(acted, spaces.MultiDiscrete),
        f"A graph has one action or continuous ones, not {in_words(acted)}.",
    )

    memory, steps = policy.remembered(lane)
    step = [torch.zeros(1, *env.observation_space.shape or ()), *(x[lane : lane + 1] for x in previous), torch.ones(1)]
    given = [x.detach().cpu() for x in (*step, *tensors_of(memory))]
    given = [x if x.numel() else x.new_zeros(1, 1, *x.shape[2:]) for x in given]  # an entry of zeros is not valid
    names = [*INPUTS, *(f"memory_{k}" for k in range(len(given) - len(INPUTS)))]
    graph = StepGraph(policy, env, memory)
    model = onnx.load_model_from_string(_traced(graph, dict(zip(names, given, strict=True))))
    for name, x in list(zip(names, given, strict=True))[1:]:  # what an input is where it is left out
        model.graph.initializer.append(numpy_helper.from_array(x.numpy(), name))
    description = _description(run, env, policy, steps)
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in description.items()})
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: part.write_bytes(model.SerializeToString()))


def _traced(graph: StepGraph, given: dict[str, Tensor]) -> bytes:
    """The graph as PyTorch's exporter writes it, with an open axis where the memory grows with each step."""
    memory = list(given)[len(INPUTS) :]
    after = graph(*given.values())[-len(memory) :] if memory else ()
    grows = {name: {1: "entries"} for name, x in zip(memory, after, strict=True) if x.shape != given[name].shape}
    examples = [x.new_zeros(1, 3, *x.shape[2:]) if name in grows else x for name, x in given.items()]
    outputs = ["action", *(["log_probs"] if graph.discrete else ["mean", "log_std"])]
    content = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # that tracing is the older way, and fixes shapes
        torch.onnx.export(
            graph,
            tuple(examples),
            content,  # type: ignore[arg-type]
            input_names=list(given),
            output_names=[*outputs, *(f"next_{name}" for name in memory)],
            dynamic_axes={**grows, **{f"next_{name}": axes for name, axes in grows.items()}},
            opset_version=OPSET,
            dynamo=False,
        )
    return content.getvalue()


def _description(run: Run, env: Env, policy: TaskPolicy, steps: int) -> dict[str, Any]:
    """What the file says about the policy."""
    stages = run.algorithm.stages()
    return {
        "family": run.config.env,
        "env_preset": run.config.env_preset,
        "method": run.algorithm.name,
        "preset": run.preset,
        "seed": run.config.seed,
        "iteration": run.iteration,
        "gradient_steps": policy.steps_taken,
        "version": importlib.metadata.version("metarl-toolkit"),
        "observation_space": _space(env.observation_space),
        "action_space": _space(env.action_space),
        "horizon": env.horizon,
        "num_episodes": stages.num_episodes if stages.trial else None,
        "steps": steps,
    }


def _space(space: spaces.Space) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n)}
    assert isinstance(space, spaces.Box)
    bounds = {name: [str(x) for x in bound.ravel()] for name, bound in (("low", space.low), ("high", space.high))}
    return {"type": "Box", "shape": list(space.shape), **bounds}
