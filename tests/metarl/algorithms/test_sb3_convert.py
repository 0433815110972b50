"""Policies from and to Stable-Baselines3: the same outputs on both sides, and one sentence where there are none."""

from __future__ import annotations

import base64
import json
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import Generator, nn

import envs
from envs import InputError
from envs.adapters.sb3 import TaskVecEnv, make_sb3
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.algorithms.sb3_convert import from_sb3, policy_to_sb3
from metarl.algorithms.sb3_file import load_sb3
from metarl.learning.rollout import rollout
from metarl.policies.distributions import DiagGaussian
from metarl.policies.mlp import MLPConfig, StepInput, make_policy
from metarl.training.export import to_sb3
from metarl.training.loop import train, train_iteration
from metarl.training.run import Run

FAMILIES = {"box": "point", "discrete": "gridworld"}
SMALL = {"n_steps": 8, "batch_size": 16, "device": "cpu"}


def lanes(family="point", num_envs=2, **fields):
    fields = {"horizon": 5, **fields} if family == "point" else fields
    return make_sb3(family, num_envs, seed=0, **fields)


def some_obs(env, count=50):
    """[B, O] of the size that episodes meet."""
    return torch.randn(count, *env.observation_space.shape, generator=Generator().manual_seed(0))


def ours(policy, params, obs):
    """Our outputs for obs [B, O]: (mean [B, A], log_std [A]), or log-probabilities [B, A]."""
    none = torch.zeros(0)
    distribution, _ = policy.bind(params.unsqueeze(0))(StepInput(obs[None, :, None], none, none, none, none), None)
    if isinstance(distribution, DiagGaussian):
        return distribution.mean[0, :, 0], distribution.log_std.flatten()
    return (distribution.log_probs[0, :, 0],)


def theirs(model, obs):
    with torch.no_grad():
        distribution = model.policy.get_distribution(obs).distribution
    if isinstance(distribution, torch.distributions.Normal):
        return distribution.mean, distribution.stddev[0].log()
    return (distribution.logits,)


def assert_same(a, b, tolerance=1e-6):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance)


def disturbed(model):
    """The model with parameters as after some training: without the small last layer of the initialization."""
    generator = Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


ARCHITECTURES = [
    {"net_arch": [8, 6]},
    {"net_arch": {"pi": [8, 6], "vf": [4]}, "activation_fn": nn.ReLU},
    {"net_arch": {"vf": [4]}},
    {"net_arch": [7], "activation_fn": nn.ReLU, "log_std_init": -0.7, "ortho_init": False},
    {"net_arch": [7], "share_features_extractor": False},
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=range(len(ARCHITECTURES)))
@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("actions", FAMILIES)
def test_a_round_trip_changes_no_output(algorithm, actions, architecture):
    env = lanes(FAMILIES[actions])
    model = disturbed(algorithm("MlpPolicy", env, policy_kwargs=architecture, device="cpu", n_steps=8))
    obs = some_obs(env)
    policy = from_sb3(model)
    params = policy.init(Generator())
    assert params.shape == (policy.num_parameters,)
    assert_same(ours(policy, params, obs), theirs(model, obs))
    back = policy_to_sb3(policy, params, env, **SMALL)
    assert_same(theirs(back, obs), theirs(model, obs), 0)
    np.testing.assert_array_equal(*(m.predict(obs.numpy(), deterministic=True)[0] for m in (back, model)))
    assert torch.equal(from_sb3(back).init(Generator()), params)
    kind = architecture.get("activation_fn", nn.Tanh)
    assert policy.config.activation == {nn.Tanh: "tanh", nn.ReLU: "relu"}[kind]
    assert torch.equal(from_sb3(model.policy).init(Generator()), params), "a policy without its algorithm"


def test_what_is_taken_over_is_a_copy():
    model = disturbed(PPO("MlpPolicy", lanes(), **SMALL))
    policy = from_sb3(model)
    params = policy.init(Generator())
    params += 1
    model.learn(16)
    assert torch.equal(policy.init(Generator()) + 1, params)


def run_of(make_run, algorithm=None, **fields):
    run = make_run(algorithm=algorithm or MAMLConfig(), num_iterations=2, hidden_sizes=(8, 6), **fields)
    train(run, quiet=True)
    return run


@pytest.mark.parametrize(
    "algorithm", [MAMLConfig(learned_rates="parameter"), ReptileConfig(average_last=1.0)], ids=["meta-sgd", "reptile"]
)
def test_a_meta_learned_start_goes_to_ppo_and_comes_back(make_run, algorithm):
    run = run_of(make_run, algorithm)
    task = run.env.task_to_dicts(run.env.sample_tasks(1, Generator().manual_seed(0)))
    env = TaskVecEnv(run.env, 2, tasks=task * 2, seed=0)
    model = to_sb3(run.path, env, **SMALL)
    obs = some_obs(env)
    start = run.algorithm.inner.params
    assert_same(theirs(model, obs), ours(run.algorithm.policy, start, obs))
    assert torch.equal(from_sb3(model).init(Generator()), start)
    model.learn(32)
    learned = from_sb3(model)
    assert learned.init(Generator()).isfinite().all() and not torch.equal(learned.init(Generator()), start)

    generator = Generator().manual_seed(0)
    maml = MAML(MAMLConfig(), run.env, learned, generator)
    assert torch.equal(maml.params, learned.init(Generator()))
    maml.update(maml.collect(run.env, run.env.sample_tasks(3, generator), 4, generator))
    assert not torch.equal(maml.params, learned.init(Generator()))
    adapt = maml.adapters(1)[0]
    trajectory = maml.collect(run.env, run.env.sample_tasks(1, generator), 4, generator)[0]
    adapted, _ = adapt(learned.init(generator).unsqueeze(0), None, trajectory)
    assert_same(theirs(policy_to_sb3(learned, adapted[0], env, **SMALL), obs), ours(learned, adapted[0], obs))


def test_any_environment_with_equal_spaces_will_do(make_run):
    run = run_of(make_run)
    for env in (
        gymnasium.make("metarl/Point-v0", horizon=5, task={"goal": [0.3, 0.2]}),
        lanes(),
        lanes(horizon=9),  # whose observations may be further out
        VecNormalize(lanes(), norm_obs=False),
    ):
        to_sb3(str(run.path), env, **SMALL).learn(8)


@pytest.mark.parametrize("informed", [False, True])
def test_an_sb3_run_comes_with_its_value_network(make_run, informed, sentence):
    from metarl.algorithms.sb3_ppo import SB3PPOConfig

    run = run_of(make_run, SB3PPOConfig(informed=informed))
    told = envs.informed(run.env)
    right, wrong = (TaskVecEnv(env, 2, seed=0) for env in ((told, run.env) if informed else (run.env, told)))
    model = to_sb3(run.path, right, **SMALL)
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, run.algorithm.parameters["policy"][name])
    model.learn(16)
    with pytest.raises(InputError) as error:
        to_sb3(run.path, wrong)
    assert "reads observations of the shape" in sentence(error)


def test_their_evaluation_and_ours_agree(make_run):
    """A deterministic policy in a deterministic environment, whose episodes end early in some lanes."""
    run = run_of(make_run, horizon=12)
    env = envs.make("point", horizon=12, goal_tolerance=0.2)
    task = env.sample_tasks(20, Generator().manual_seed(1))
    model = to_sb3(run.path, TaskVecEnv(env, 1, seed=0), **SMALL)
    with torch.no_grad():
        model.policy.action_net.bias.fill_(0.8)
    vec_env = TaskVecEnv(env, 20, tasks=env.task_to_dicts(task), seed=0)
    returns, lengths = evaluate_policy(model, vec_env, 20, return_episode_rewards=True, warn=False)

    def predicted(inputs, state, memory):
        action, _ = model.predict(inputs.obs.flatten(0, 1).numpy(), deterministic=True)
        return torch.as_tensor(action).unflatten(0, inputs.obs.shape[:2]), memory

    def most_likely(inputs, state, memory):
        policy = from_sb3(model)
        return policy.bind(policy.init(Generator()).expand(20, -1))(inputs, None)[0].mode(), memory

    same = rollout(env, predicted, task, 1, Generator())
    assert 0 < (same.mask.sum(1) < 12).sum() < 20, "some of them should end early"
    # lanes finish in the order of their lengths, and lane by lane in one step
    order = same.mask[:, :, 0].sum(1).argsort(stable=True)
    assert lengths == same.mask[:, :, 0].sum(1)[order].tolist()
    assert returns == same.reward[:, :, 0].double().cumsum(1)[order, -1].tolist()
    np.testing.assert_allclose(rollout(env, most_likely, task, 1, Generator()).returns[order, 0], returns, atol=1e-4)


# --- What has no counterpart -------------------------------------------------------------------------------------


class Extractor(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space, 3)
        self.linear = nn.Linear(2, 3)

    def forward(self, obs):
        return self.linear(obs)


class OwnPolicy(ActorCriticPolicy):
    pass


class Anything(gymnasium.Env):
    """Random observations of any space."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, True, {}


VECTOR, IMAGE, ARM = spaces.Box(-1, 1, (3,)), spaces.Box(0, 255, (36, 36, 3), np.uint8), spaces.Discrete(2)
UNSUPPORTED = {
    "gSDE": (lambda: PPO("MlpPolicy", lanes(), use_sde=True, **SMALL), "state-dependent exploration (gSDE)"),
    "squashed": (
        lambda: PPO("MlpPolicy", lanes(), use_sde=True, policy_kwargs={"squash_output": True}, **SMALL),
        "state-dependent exploration (gSDE)",
    ),
    "an activation": (lambda: PPO("MlpPolicy", lanes(), policy_kwargs={"activation_fn": nn.ELU}, **SMALL), "not ELU."),
    "an extractor": (
        lambda: PPO("MlpPolicy", lanes(), policy_kwargs={"features_extractor_class": Extractor}, **SMALL),
        "Only a policy that reads its observations as they are can be taken over, and this one has Extractor.",
    ),
    "images": (lambda: PPO("CnnPolicy", Anything(IMAGE, ARM), **SMALL), "and this is ActorCriticCnnPolicy."),
    "a dict": (
        lambda: PPO("MultiInputPolicy", Anything(spaces.Dict(a=VECTOR), ARM), **SMALL),
        "Only an MlpPolicy of PPO or A2C can be taken over, and this is MultiInputActorCriticPolicy.",
    ),
    "a policy of one's own": (lambda: PPO(OwnPolicy, lanes(), **SMALL), "and this is OwnPolicy."),
    "several choices": (
        lambda: PPO("MlpPolicy", Anything(VECTOR, spaces.MultiDiscrete([2, 3])), **SMALL),
        "A policy needs a Discrete or one-dimensional Box action space, not MultiDiscrete([2 3]).",
    ),
    "a matrix of actions": (
        lambda: PPO("MlpPolicy", Anything(VECTOR, spaces.Box(-1, 1, (2, 2))), **SMALL),
        "one-dimensional Box action space",
    ),
    "numbered states": (
        lambda: PPO("MlpPolicy", Anything(spaces.Discrete(4), ARM), **SMALL),
        "A policy needs a one-dimensional Box observation space, not Discrete(4).",
    ),
    "a matrix": (lambda: PPO("MlpPolicy", Anything(spaces.Box(-1, 1, (2, 2)), ARM), **SMALL), "one-dimensional Box"),
    "normalized": (lambda: PPO("MlpPolicy", VecNormalize(lanes()), **SMALL), "VecNormalize"),
    "SAC": (lambda: SAC("MlpPolicy", lanes(), buffer_size=10, device="cpu"), "and this is SAC."),
    "DQN": (lambda: DQN("MlpPolicy", lanes("gridworld"), buffer_size=10, device="cpu"), "and this is DQN."),
    "not a model": (lambda: 3, "and this is int."),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_has_no_counterpart_is_refused_in_one_sentence(case, sentence):
    make, words = UNSUPPORTED[case]
    with pytest.raises(InputError) as error:
        from_sb3(make())
    assert words in sentence(error)


@pytest.mark.parametrize("case", sorted(UNSUPPORTED.keys() - {"normalized", "not a model"}))
def test_so_is_its_file(case, tmp_path, sentence):
    UNSUPPORTED[case][0]().save(tmp_path / "model.zip")
    with pytest.raises(InputError) as error:
        load_sb3(tmp_path / "model.zip")
    words = {"images": "has features_extractor.", "a policy of one's own": "of the module", "a dict": "not Dict."}
    assert words.get(case, "") in sentence(error)


def test_normalized_observations_are_seen_in_a_saved_model_too(tmp_path, sentence):
    PPO("MlpPolicy", VecNormalize(lanes()), **SMALL).learn(16).save(tmp_path / "normalized.zip")
    with pytest.raises(InputError) as error:
        load_sb3(tmp_path / "normalized.zip")
    assert "raw; train it without that wrapper." in sentence(error)
    rewards_only = PPO("MlpPolicy", VecNormalize(lanes(), norm_obs=False), **SMALL).learn(16)
    assert from_sb3(rewards_only).num_parameters > 0


def test_other_spaces_are_refused_in_one_sentence(make_run, sentence):
    run = run_of(make_run)
    for env, words in {
        lanes("bernoulli-bandit"): "reads observations of the shape (2,), and those of the environment are Box(",
        lanes("gridworld"): "has the actions Box(-1.0, 1.0, (2,), float32), and the environment Discrete(5); choose",
        Anything(spaces.Box(-1, 1, (2,)), spaces.Discrete(2)): "and the environment Discrete(2); choose one with equal",
        Anything(spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (2,))): "and the environment Box(-2.0, 2.0, (2,), float32)",
        Anything(spaces.Discrete(2), ARM): "and those of the environment are Discrete(2)",
        run.env: "must be one of Gymnasium or SB3, such as TaskVecEnv(env, num_envs).",
        "metarl/Point-v0": "must be one of Gymnasium or SB3",
    }.items():
        with pytest.raises(InputError) as error:
            to_sb3(run.path, env)
        assert words in sentence(error)
    policy = make_policy(run.env.observation_space, run.env.action_space, MLPConfig((4,)))
    with pytest.raises(InputError) as error:
        policy_to_sb3(policy, policy.init(Generator()), lanes("gridworld"))
    assert "has 2 outputs, which does not fit an environment with 2 numbers and the actions Disc" in sentence(error)
    with pytest.raises(InputError) as error:
        policy_to_sb3(policy, policy.init(Generator()).expand(2, -1), lanes())
    assert "One set of" in sentence(error)


def test_a_policy_with_a_memory_is_refused(script, tmp_path, sentence):
    options = ["--meta-batch-size", 2, "--hidden-size", 8, "--num-iterations", 1]
    assert script("train", "rl2-bandit", "--run-dir", tmp_path / "rl2", *options).status == 0
    with pytest.raises(InputError) as error:
        to_sb3(tmp_path / "rl2", lanes("bernoulli-bandit"))
    assert "policy with a memory" in sentence(error)


# --- A model as the start of a run -------------------------------------------------------------------------------

TINY = ["--meta-batch-size", "2", "--num-envs", "3", "--env.horizon", "5", "--num-iterations", "2"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> SimpleNamespace:
    """A model of PPO and one of A2C, and their files."""
    folder = tmp_path_factory.mktemp("models")
    out = SimpleNamespace(folder=folder)
    for name, algorithm, kwargs in (("ppo", PPO, {"net_arch": [8, 6]}), ("a2c", A2C, {"activation_fn": nn.ReLU})):
        model = algorithm("MlpPolicy", lanes(), policy_kwargs=kwargs, n_steps=8, device="cpu", seed=0).learn(32)
        model.save(folder / f"{name}.zip")
        setattr(out, name, model)
    SAC("MlpPolicy", lanes(), buffer_size=10, device="cpu").save(folder / "sac.zip")
    DQN("MlpPolicy", lanes("gridworld"), buffer_size=10, device="cpu").save(folder / "dqn.zip")
    PPO("MlpPolicy", lanes("gridworld"), **SMALL).save(folder / "grid.zip")
    (folder / "text.zip").write_text("no model")
    return out


@pytest.mark.parametrize(("preset", "name"), [("maml-point", "ppo"), ("reptile-point", "a2c")])
def test_a_run_starts_from_a_saved_model_and_resumes_without_it(script, saved, tmp_path, preset, name):
    model = tmp_path / "model.zip"
    model.write_bytes((saved.folder / f"{name}.zip").read_bytes())
    start = from_sb3(getattr(saved, name)).init(Generator())
    result = script("train", preset, "--init-sb3", model, "--run-dir", tmp_path / "whole", *TINY)
    assert (result.status, result.err) == (0, "")
    none = [*TINY[:-1], "0"]
    assert script("train", preset, "--init-sb3", model, "--run-dir", tmp_path / "run", *none).status == 0
    model.unlink()
    run = Run.open(tmp_path / "run")
    assert torch.equal(run.algorithm.params, start)
    assert run.config.policy.hidden_sizes == ((8, 6) if name == "ppo" else (64, 64))
    assert run.config.policy.activation == ("tanh" if name == "ppo" else "relu")
    assert run.config.init_sb3 == str(model)
    result = script("train", "--resume", tmp_path / "run", "--num-iterations", 2)
    assert (result.status, result.err) == (0, "")
    params = [Run.open(tmp_path / name).algorithm.params for name in ("whole", "run")]
    assert torch.equal(*params) and not torch.equal(params[0], start)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def rewritten(source, target, change):
    """A copy of a zip with `change(name, content)` in place of each entry's content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_code_in_a_saved_model_does_not_run(script, saved, tmp_path):
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    pickle.loads(trap).close()
    sprung.unlink()  # it works

    def set_traps(name, content):
        if name == "data":
            data = json.loads(content)
            for entry in data.values():
                if isinstance(entry, dict) and ":serialized:" in entry:
                    entry[":serialized:"] = base64.b64encode(trap).decode()
            data["clip_range"] = {":type:": "<class 'function'>", ":serialized:": base64.b64encode(trap).decode()}
            return json.dumps(data)
        return trap if name.endswith(".pth") and name != "policy.pth" else content

    evil = rewritten(saved.folder / "a2c.zip", tmp_path / "evil.zip", set_traps)
    result = script("train", "maml-point", "--init-sb3", evil, "--run-dir", tmp_path / "run", *TINY)
    assert (result.status, result.err) == (0, "")
    assert torch.equal(load_sb3(evil).start, from_sb3(saved.a2c).start)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda name, content, trap: trap if name == "policy.pth" else content,
        lambda name, content, trap: content[: len(content) // 2] if name == "policy.pth" else content,
        lambda name, content, trap: content[: len(content) // 2] if name == "data" else content,
        lambda name, content, trap: b"[" * 100_000 if name == "data" else content,
        lambda name, content, trap: b"{}" if name == "data" else content,
        lambda name, content, trap: content.replace(b'"_shape": [', b'"_shape": [1, ') if name == "data" else content,
    ],
    ids=["a trap", "cut tensors", "cut text", "nested text", "no fields", "another shape"],
)
def test_a_damaged_or_evil_model_is_refused(saved, tmp_path, sentence, change):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    bad = rewritten(saved.folder / "ppo.zip", tmp_path / "bad.zip", lambda name, content: change(name, content, trap))
    with pytest.raises(InputError) as error:
        load_sb3(bad)
    sentence(error)
    assert not (tmp_path / "sprung").exists()


def test_a_file_and_the_model_in_it_are_one_policy(saved):
    for name in ("ppo", "a2c"):
        read, model = load_sb3(saved.folder / f"{name}.zip"), from_sb3(getattr(saved, name))
        assert torch.equal(read.start, model.start) and read.config == model.config
        assert (read.observation_space, read.action_space) == (model.observation_space, model.action_space)
    assert load_sb3(saved.folder / "grid.zip").action_space == spaces.Discrete(5)


def test_a_run_that_lost_its_start_says_so(make_run, saved, sentence):
    run = make_run(init_sb3="model.zip")
    with pytest.raises(InputError) as error:
        Run.open(run.path)
    assert "was stopped before it had taken model.zip over" in sentence(error)


@pytest.mark.parametrize(
    ("preset", "file", "more", "words"),
    [
        ("maml-point", "none.zip", [], "There is no file"),
        ("maml-point", "text.zip", [], "is not a model of an on-policy algorithm that SB3 saved"),
        ("maml-point", "sac.zip", [], "is not a model of an on-policy algorithm that SB3 saved"),
        ("maml-point", "dqn.zip", [], "is not a model of an on-policy algorithm that SB3 saved"),
        ("maml-point", "grid.zip", [], "grid.zip has the actions Discrete(5), and the environment Box("),
        (
            "maml-point",
            "ppo.zip",
            ["--hidden-sizes", 8, 6],
            "leave out the options of a policy, such as --hidden-sizes",
        ),
        ("metanet-point", "ppo.zip", [], "the start of a method that adapts by gradient steps only; leave --init-sb3"),
        ("sb3-ppo-point", "ppo.zip", [], "the start of a method that adapts by gradient steps only; leave --init-sb3"),
    ],
)
def test_a_model_that_cannot_be_the_start_is_refused(script, saved, tmp_path, sentence, preset, file, more, words):
    result = script("train", preset, "--init-sb3", saved.folder / file, *more, "--run-dir", tmp_path / "run")
    assert (result.status, result.out) == (2, "")
    if result.err.startswith("error: "):  # ours, and not the parser's box
        sentence(result.err)
    assert words in " ".join(result.err.replace("│", " ").split()) and "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_the_first_iteration_starts_from_the_model(make_run, saved, tmp_path):
    """Not only in the checkpoint: what is trained is the model's policy."""
    run = make_run(hidden_sizes=(8, 6))
    policy = from_sb3(saved.ppo)
    started = Run(tmp_path / "started", "maml-point", run.config, run.env_config, policy=policy)
    started.create()
    train_iteration(started)
    assert float((started.algorithm.params - policy.init(Generator())).norm()) < 1
    assert float((started.algorithm.params - run.algorithm.params).norm()) > 1


def test_the_examples_of_the_documentation_run(make_run, tmp_path):
    text = (Path(__file__).parents[3] / "docs/baselines.md").read_text()
    run_of(make_run, horizon=100).path.rename(tmp_path / "maml")
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S)).replace("runs/maml", str(tmp_path / "maml"))
    assert "to_sb3" in program and "from_sb3" in program
    program = re.sub(r"\d+_000\b", "64", program)
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
