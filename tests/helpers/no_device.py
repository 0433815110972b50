"""A device that is not there: rehearses methods on tensors that hold no numbers and only say that they are on it.

PyTorch's fake tensors know shape, type and device. On a device registered from Python, operations on tensors of two
devices fail as they would on a GPU, and so do shapes that depend on data, for which the host would have to wait. What
the host reads is made up and counted, with the line that reads; and what is sent to the device from Python's numbers.

    python tests/helpers/no_device.py maml-point metanet-bandit,memory=ring      # a JSON object by preset

What it cannot see: kernels that fail, fused ones (GRU and LSTM run step by step here), random numbers, time. It changes
PyTorch for the whole process, so that tests start one of its own.
"""

from __future__ import annotations

import contextlib
import copy
import copyreg
import dataclasses
import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import envs
from metarl.evaluation.curve import play_stages
from metarl.training.config import make_algorithm, with_options
from metarl.training.presets import preset

ROOT = f"{Path(__file__).parents[2]}/"
PACKAGES = (f"{ROOT}envs/", f"{ROOT}metarl/")
torch.utils.backend_registration._setup_privateuseone_for_python_backend("gpu")
DEVICE = torch.device("gpu", 0)
READ = "aten::_local_scalar_dense"
VIEWS = {"view", "expand", "slice", "select", "permute", "transpose", "t", "squeeze", "unsqueeze", "detach", "alias"}
"""Operations that start no kernel."""


class Random(Generator):
    """A generator of that device, from which nothing is drawn."""

    device = DEVICE


class Host(TorchDispatchMode):
    """Answers and counts what the host reads, counts what it sends, and the kernels that it starts."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.sends: Counter[str] = Counter()
        self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, of = func._schema.name, next((x for x in args if isinstance(x, Tensor)), None)
        if name == READ and of is not None:
            if of.device == DEVICE:  # and not a number of the host, such as the count of Adam's steps
                self.reads[line()] += 1
            return True if of.dtype == torch.bool else 0.5 if of.is_floating_point() else 1
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            source = args[1] if name == "aten::copy_" else of
            if source is not None and source.device != out.device:
                (self.sends if out.device == DEVICE else self.reads)[line()] += 1
            self.launches += out.device == DEVICE and name.removeprefix("aten::") not in VIEWS
        return out


def line() -> str:
    """The line of the project that is being executed."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(PACKAGES):
            return f"{frame.filename.removeprefix(ROOT)}: {frame.line}"
    return "?"


# --- Fakes -------------------------------------------------------------------------------------------------------


def install() -> None:
    """Let `copy.deepcopy` take tensors, generators and devices to the device; give what has no fake form one."""
    copyreg.pickle(torch.device, lambda device: (torch.device, (DEVICE.type, 0)))
    copyreg.pickle(Generator, lambda generator: (Random, ()))
    Tensor.__deepcopy__ = nn.Parameter.__deepcopy__ = moved  # type: ignore[method-assign]
    FakeTensor.tolist = lambda self: nested(self.sum().item(), list(self.shape))
    draw = Tensor.exponential_
    Tensor.exponential_ = lambda x, *args, generator=None: draw(x, *args)  # type: ignore[method-assign]
    torch.tensor, torch.as_tensor = partial(sent, torch.tensor), partial(sent, torch.as_tensor)
    Tensor.new_tensor = lambda x, data: torch.tensor(data, dtype=x.dtype, device=x.device)  # type: ignore[method-assign]
    nn.GRU.forward, nn.LSTM.forward = gru, lstm  # type: ignore[method-assign]


def moved(x: Tensor, memo: dict[int, Any]) -> Tensor:
    """A tensor of the same shape and type on the device."""
    if id(x) not in memo:
        there = torch.empty(x.shape, dtype=x.dtype, device=DEVICE)
        kept = isinstance(x, nn.Parameter)
        memo[id(x)] = nn.Parameter(there, x.requires_grad) if kept else there.requires_grad_(x.requires_grad)
    return memo[id(x)]


def sent(make: Callable[..., Tensor], data: Any, *, device: Any = None, dtype: Any = None) -> Tensor:
    """`torch.tensor` or `torch.as_tensor` of Python's numbers: made by the host, then sent."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    here = make(data, dtype=dtype)
    here.constant = None  # type: ignore[attr-defined]  # the number itself, which cannot be sent
    return here if device is None else here.to(device)


def nested(value: Any, shape: list[int]) -> Any:
    return [nested(value, shape[1:]) for _ in range(shape[0])] if shape else value


def gru(self: nn.GRU, x: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x [B, T, I], as `nn.GRU` computes it."""
    h = x.new_zeros(len(x), self.hidden_size) if hidden is None else hidden[0]
    outputs = []
    for now in x.unbind(1):
        of_input = functional.linear(now, self.weight_ih_l0, self.bias_ih_l0).chunk(3, -1)
        of_state = functional.linear(h, self.weight_hh_l0, self.bias_hh_l0).chunk(3, -1)
        reset, update = ((a + b).sigmoid() for a, b in zip(of_input[:2], of_state[:2], strict=True))
        new = torch.tanh(of_input[2] + reset * of_state[2])
        h = new + update * (h - new)
        outputs.append(h)
    return torch.stack(outputs, 1), h.unsqueeze(0)


def lstm(self: nn.LSTM, x: Tensor) -> tuple[Tensor, None]:
    """x [B, T, I], as `nn.LSTM` computes it."""
    memory, outputs = self.start(len(x)), []  # type: ignore[operator]
    for now in x.unbind(1):
        y, memory = self.step(now, memory)  # type: ignore[operator]
        outputs.append(y)
    return torch.stack(outputs, 1), None


# --- The rehearsal -----------------------------------------------------------------------------------------------


FEWER = {"epochs": 1, "minibatches": 2, "num_updates": 2, "model_updates": 2, "num_episodes": 2}
FEWER |= {"line_search_steps": 3, "cg_iterations": 2}
"""Most repetitions of the same work."""


def fewer(config: Any) -> Any:
    """A configuration with at most so many, also in those that it holds."""
    held = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    inner = {name: fewer(value) for name, value in held.items() if dataclasses.is_dataclass(value)}
    return dataclasses.replace(
        config, **inner, **{name: min(held[name], n) for name, n in FEWER.items() if name in held}
    )


def rehearse(argument: str) -> dict[str, Any]:
    """Reads, sends and launches in each part of a meta-iteration and in an evaluation, both of few, short episodes."""
    name, *options = argument.split(",")
    given = (option.split("=") for option in options)
    config = with_options(preset(name), {key: int(x) if x.isdigit() else x for key, x in given})
    config = dataclasses.replace(fewer(config), num_iterations=10)
    short = {"horizon": 3} if "horizon" in {f.name for f in dataclasses.fields(envs.make_config(config.env))} else {}
    env = envs.make(config.env, config.env_preset, **short)
    env.horizon = min(env.horizon, 3)  # also where no field sets it
    algorithm = make_algorithm(config, env, Generator().manual_seed(0))
    found: dict[str, Any] = {}

    @contextlib.contextmanager
    def part(of: str) -> Iterator[None]:
        with Host() as host:
            yield
        found[of] = {"reads": dict(host.reads), "sends": dict(host.sends), "launches": host.launches}

    with FakeTensorMode():
        env, algorithm = copy.deepcopy((env, algorithm))
        generator = Random()
        with part("sample"):
            task = env.sample_tasks(4, generator)
        with part("collect"):
            experience = algorithm.collect(env, task, 2, generator)
        with part("update"):
            algorithm.update(experience)
        with part("evaluate"):
            stages = algorithm.stages()
            stages = stages if stages.trial else algorithm.stages(1)
            play_stages(env, algorithm.play(env, 2, generator, stages), task, 2 * stages.episodes)
        assert experience[0].reward.device == algorithm.params.device == DEVICE
    return found


def rehearsals(names: list[str]) -> dict[str, dict[str, Any]]:
    """What `rehearse` finds, by preset; for one that fails, its "error" alone."""
    out = {}
    for name in names:
        try:
            out[name] = rehearse(name)
        except Exception as error:
            traceback.print_exc()
            own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(PACKAGES)]
            where = f"{own[-1].filename.removeprefix(ROOT)}: {own[-1].line}" if own else "?"
            out[name] = {"error": f"{type(error).__name__} at {where}: {str(error).splitlines()[0]}"}
    return out


if __name__ == "__main__":
    install()
    print(json.dumps(rehearsals(sys.argv[1:]), indent=1))
