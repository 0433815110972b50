"""One policy on one task, played stage by stage: an episode of a trial, or the episodes before a gradient step."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from envs.errors import require
from envs.structs import Struct, merged
from metarl.agent.load import Agent
from metarl.policies.mlp import StepInput

MOST_NUMBERS = 60_000
"""In the states of a stage that the page gets; it gets at least those of the first lane."""
FRAME_SIZE = 480


class Trial:
    """A learner, and what it has played.

    A policy with a memory plays one lane; a gradient method as many as it learns from in training, all on this task.

    Args:
        task: as a plain dict.

    Raises:
        InputError: for a task that does not fit.
    """

    def __init__(self, agent: Agent, task: dict[str, Any], seed: int) -> None:
        self.agent, self.env = agent, agent.env
        self.task = self.env.task_from_dicts([task])
        run = agent.run
        self.stages = run.algorithm.stages()
        self.lanes = 1 if self.stages.trial else run.config.num_envs
        self.learner = agent.begin(num_envs=self.lanes, seed=seed)
        self.generator = Generator(run.device).manual_seed(seed + 1)
        self.episodes: list[Struct] = []  # of the first lane: its states [T + 1, ...] in each stage
        self.seen: list[list[StepInput]] = []  # what the first lane's policy saw, [1] each, in each stage
        self.after: list[StepInput] = []  # what follows in its place where a stage ends early

    @property
    def done(self) -> bool:
        return len(self.episodes) == len(self.stages)

    def play(self) -> dict[str, Any]:
        """Play the next stage; the gradient step that follows it is taken, too.

        Returns, as JSON has it: `index` and `name` of the stage, `returns` of the lanes, `rewards` of the first lane,
        `states` (for each field, the lanes' values over time), `attention` (for each step, the shares of all steps of
        the trial before it), `belief` (mean and standard deviation, [steps][latents] each), and whether the adaptation
        is `done`.

        Raises:
            InputError: when there is no stage left.
            NonFiniteError: when a gradient step leaves no policy.
        """
        require(not self.done, "This adaptation is over; begin another one.")
        state, obs = self.env.reset(self.task, self.lanes, self.generator)
        path, rewards, seen = [state[0]], [], []
        over, lengths = torch.zeros(1, self.lanes, dtype=torch.bool), [0] * self.lanes
        for t in range(self.env.horizon):
            learner, first = self.learner, slice(0, 1)
            mask = torch.ones(1)
            inputs = StepInput(obs[0], learner.prev_action, learner.prev_reward, learner.first, mask.expand(self.lanes))
            seen.append(inputs[first])
            action = torch.as_tensor(learner.act(obs[0].numpy())).unsqueeze(0)
            result = self.env.step(self.task, state, action, self.generator)
            rewards.append(torch.where(over, 0.0, result.reward)[0])
            lengths = [n if ended else t + 1 for n, ended in zip(lengths, over[0].tolist(), strict=True)]
            path.append(result.state[0] if t == 0 else merged(over, path[-1][None], result.state)[0])
            over = over | result.terminated
            last = bool(over.all()) or t == self.env.horizon - 1
            state, obs = result.state, result.obs
            ended = result.terminated
            if not last and bool(ended.any()):  # these lanes go on with episodes that do not count
                state, obs = self.env.restart(ended, self.task, state, obs, self.generator)
            truncated = (~ended if last else torch.zeros_like(ended))[0].numpy()
            final = {"final_obs": list(result.obs[0].numpy())}
            learner.observe(obs[0].numpy(), result.reward[0].numpy(), ended[0].numpy(), truncated, final)
            if last:
                break
        states = type(path[0]).stack(path)
        self.episodes.append(states[: lengths[0] + 1, 0])
        self.seen.append(seen)
        follows = StepInput(obs[0], self.learner.prev_action, self.learner.prev_reward, self.learner.first, mask)
        self.after.append(_padding(follows[slice(0, 1)]))
        shares, belief = self._memory()
        return {
            "index": len(self.episodes) - 1,
            "name": self.stages.names[len(self.episodes) - 1],
            "returns": plain(torch.stack(rewards).sum(0)),
            "rewards": plain(torch.stack(rewards)[: lengths[0], 0]),
            "lengths": lengths,
            "states": self._numbers(states),
            "attention": None if shares is None else plain(shares),
            "belief": None if belief is None else plain(belief),
            "done": self.done,
        }

    def _numbers(self, states: Struct) -> dict[str, Any]:
        """The states of as many lanes as a page can take: name -> [lanes][T + 1, ...]."""
        columns = {name: x for name, x in vars(states).items() if isinstance(x, Tensor)}
        each = sum(x[:, 0].numel() for x in columns.values())
        lanes = min(self.lanes, max(1, MOST_NUMBERS // max(1, each)))
        return {name: plain(x[:, :lanes].transpose(0, 1)) for name, x in columns.items()}

    def _memory(self) -> tuple[Tensor | None, Tensor | None]:
        """Attention [t, steps of the trial so far] of the t steps of the latest episode, and the belief [2, t, L] after
        them; None where the policy has none. Padding is left out."""
        algorithm, horizon = self.agent.run.algorithm, self.env.horizon
        if not self.stages.trial:
            return None, None
        num_steps = len(self.stages) * horizon
        rows: list[StepInput] = []
        real = torch.zeros(num_steps, dtype=torch.bool)
        for k, (steps, after) in enumerate(zip(self.seen, self.after, strict=True)):
            real[k * horizon : k * horizon + len(steps)] = True
            rows += [*steps, *[after] * (horizon - len(steps))]
        rows += [self.after[-1]] * (num_steps - len(rows))
        inputs = StepInput.cat(rows).map(lambda x: x.unsqueeze(0))
        shares, belief = algorithm.attention(inputs), algorithm.belief(inputs)
        latest = len(self.seen[-1])
        return (
            None if shares is None else shares[0][real][-latest:][:, real],
            None if belief is None else belief[0][:, real][:, -latest:],
        )

    def frame(self, stage: int, step: int) -> bytes:
        """The picture of the first lane at a step of a stage that was played, as PNG. Raises `InputError`."""
        require(0 <= stage < len(self.episodes), f"There is no stage {stage} yet; {len(self.episodes)} were played.")
        states = self.episodes[stage]
        require(0 <= step < len(states), f"The stage {stage} has the steps 0 to {len(states) - 1}, and not {step}.")
        earlier = self.episodes[:stage] if self.stages.trial else []
        image = self.env.render(self.task[0], states[: step + 1], earlier, FRAME_SIZE)
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        return out.getvalue()


def _padding(step: StepInput) -> StepInput:
    """A step that did not happen."""
    return StepInput(step.obs, step.prev_action, step.prev_reward, step.first & False, step.mask * 0)


def plain(x: Tensor, digits: int = 4) -> Any:
    """Nested lists; floats with a few digits, which a picture needs."""
    array = x.detach().cpu().numpy()
    return (np.round(array.astype(float), digits) if array.dtype.kind == "f" else array).tolist()
