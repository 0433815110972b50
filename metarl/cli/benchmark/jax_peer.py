"""The work of `rl2-bandit-100` in JAX, compiled as a whole: what `metarl benchmark --against jax` compares with.

A GRU of 128 units plays trials of 100 pulls on Bernoulli bandits with 5 arms, and learns by PPO: two passes of four
minibatches, generalized advantages, Adam. It stores values and log-probabilities while acting, where ours computes
them again for whole trials; running means, the time's logarithm and learning-rate schedules are left out.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

TRIALS, PULLS, ARMS, UNITS = 256, 100, 5, 128
PASSES, PARTS, CLIP, DECAY, RATE = 2, 4, 0.2, 0.9, 2e-3


def fresh(key: Any) -> dict[str, Any]:
    """Parameters: a layer for the inputs, the GRU's two, and one for logits and value."""
    shapes = {
        "see": (ARMS + 7, UNITS),
        "input": (UNITS, 3 * UNITS),
        "state": (UNITS, 3 * UNITS),
        "out": (UNITS, ARMS + 1),
    }
    keys = jax.random.split(key, len(shapes))
    weights = {n: jax.random.normal(k, s) * s[0] ** -0.5 for k, (n, s) in zip(keys, shapes.items(), strict=True)}
    return {name: (weight, jnp.zeros(weight.shape[1])) for name, weight in weights.items()}


def layer(params: dict[str, Any], name: str, x: Any) -> Any:
    weight, bias = params[name]
    return x @ weight + bias


def advance(params: dict[str, Any], state: Any, arm: Any, reward: Any, t: Any) -> tuple[Any, Any, Any]:
    """The state after pull t of each trial, and log-probabilities and values there."""
    rows = (len(state), 1)
    clock = jnp.stack([t / PULLS, t / PULLS, jnp.log1p(t), t == 0, t == 0]).astype(jnp.float32)
    one = jax.nn.one_hot(arm, ARMS) * (t > 0)
    seen = jnp.concatenate([jnp.ones(rows), one, reward[:, None], jnp.broadcast_to(clock, (len(state), 5))], 1)
    i = layer(params, "input", jax.nn.silu(layer(params, "see", seen)))
    h = layer(params, "state", state)
    reset, keep = jnp.split(jax.nn.sigmoid(i[:, : 2 * UNITS] + h[:, : 2 * UNITS]), 2, axis=1)
    new = jnp.tanh(i[:, 2 * UNITS :] + reset * h[:, 2 * UNITS :])
    state = new + keep * (state - new)
    out = layer(params, "out", state)
    return state, jax.nn.log_softmax(out[:, :ARMS]), out[:, ARMS]


def chosen(log_probs: Any, arm: Any) -> Any:
    return jnp.take_along_axis(log_probs, arm[..., None], -1)[..., 0]


@jax.jit
def act(params: dict[str, Any], key: Any) -> tuple[Any, ...]:
    """Trials [T, B]: previous arm and reward, then arm, reward, its log-probability, value."""
    key, draw = jax.random.split(key)
    means = jax.random.uniform(draw, (TRIALS, ARMS))

    def pull(carry: tuple[Any, ...], t: Any) -> tuple[Any, Any]:
        state, before, paid, key = carry
        key, for_arm, for_reward = jax.random.split(key, 3)
        state, log_probs, value = advance(params, state, before, paid, t)
        arm = jax.random.categorical(for_arm, log_probs)
        reward = (jax.random.uniform(for_reward, (TRIALS,)) < chosen(means, arm)).astype(jnp.float32)
        return (state, arm, reward, key), (before, paid, arm, reward, chosen(log_probs, arm), value)

    start = jnp.zeros((TRIALS, UNITS)), jnp.zeros(TRIALS, int), jnp.zeros(TRIALS), key
    return jax.lax.scan(pull, start, jnp.arange(PULLS))[1]


def loss(params: dict[str, Any], part: tuple[Any, ...]) -> Any:
    """PPO's of trials [T, B], which end with advantage and target."""
    before, paid, arm, old, advantage, target = part

    def play(state: Any, x: tuple[Any, ...]) -> tuple[Any, Any]:
        state, log_probs, value = advance(params, state, *x)
        return state, (log_probs, value)

    start = jnp.zeros((before.shape[1], UNITS))
    _, (log_probs, value) = jax.lax.scan(play, start, (before, paid, jnp.arange(PULLS)))
    ratio = jnp.exp(chosen(log_probs, arm) - old)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return 0.5 * jnp.square(value - target).mean() - gain - 0.01 * entropy


@jax.jit
def learn(params: Any, first: Any, second: Any, trials: tuple[Any, ...], key: Any) -> tuple[Any, Any, Any]:
    """Parameters and Adam's two moments after all minibatches."""
    before, paid, arm, reward, old, value = trials

    def back(carry: tuple[Any, Any], x: tuple[Any, Any]) -> tuple[Any, Any]:
        advantage = x[0] + carry[0] - x[1] + DECAY * carry[1]
        return (x[1], advantage), advantage

    zero = jnp.zeros(TRIALS)
    advantage = jax.lax.scan(back, (zero, zero), (reward, value), reverse=True)[1]
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    columns = before, paid, arm, old, scaled, advantage + value

    def step(carry: tuple[Any, Any, Any], rows: Any) -> tuple[Any, None]:
        params, first, second = carry
        gradient = jax.grad(loss)(params, tuple(x[:, rows] for x in columns))
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda m, g: 0.999 * m + 0.001 * g * g, second, gradient)
        params = jax.tree.map(lambda p, m, s: p - RATE * m / (jnp.sqrt(s) + 1e-5), params, first, second)
        return (params, first, second), None

    orders = [jax.random.permutation(k, TRIALS) for k in jax.random.split(key, PASSES)]
    return jax.lax.scan(step, (params, first, second), jnp.concatenate(orders).reshape(PASSES * PARTS, -1))[0]


@functools.cache
def _learner() -> dict[str, Any]:
    params = fresh(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {"state": (params, zeros, zeros), "count": 0}


def iteration() -> tuple[float, float]:
    """Seconds of acting and of learning in the next meta-iteration; compiling is part of the first."""
    own = _learner()
    own["count"] += 1
    start = time.perf_counter()
    trials = jax.block_until_ready(act(own["state"][0], jax.random.key(own["count"])))
    acted = time.perf_counter()
    own["state"] = jax.block_until_ready(learn(*own["state"], trials, jax.random.key(-own["count"])))
    return acted - start, time.perf_counter() - acted
