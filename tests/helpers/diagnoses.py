"""Runs to diagnose, changed on purpose, and what a diagnosis says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Generator

import envs
from metarl.diagnosis.diagnose import NUM_FINDINGS, diagnose_run
from metarl.diagnosis.probe import DiagnosisConfig
from metarl.policies.mlp import MLPConfig
from metarl.training.config import TrainConfig, to_dict
from metarl.training.loop import train
from metarl.training.run import Run

NAMES = {
    "training",
    "adaptation",
    "meta-training",
    "inner learning rate",
    "hidden units",
    "baseline",
    "exploration",
    "leak",
    "other tasks",
}


def trained(path: Path, algorithm, policy=None, env="point", env_preset="finn2017", env_fields=None, **fields) -> Run:
    """A run of seconds, trained and saved."""
    sizes = {"num_iterations": 5, "meta_batch_size": 10, "num_envs": 10}
    config = TrainConfig(
        env, env_preset, policy=policy or MLPConfig((8, 8)), algorithm=algorithm, **{**sizes, **fields}
    )
    env_fields = {"horizon": 10} if env_fields is None else env_fields
    run = Run(path, "maml-point", config, envs.make_config(env, env_preset, **env_fields))
    run.create()
    train(run, quiet=True)
    return run


def changed(run: Run, path: Path, change=lambda state: None, **algorithm) -> Run:
    """The run once more, with other fields of its algorithm and a changed checkpoint."""
    shutil.copytree(run.path, path)
    config = json.loads((path / "config.json").read_text())
    config["train"]["algorithm"] |= algorithm
    (path / "config.json").write_text(json.dumps(config))
    state = torch.load(path / "checkpoint.pt", weights_only=True)
    change(state["algorithm"])
    torch.save(state, path / "checkpoint.pt")
    return Run.open(path)


def diagnosis(run: Run, num_tasks: int = 40, **options) -> SimpleNamespace:
    """Findings by name; each is complete, and the whole can be written as JSON."""
    result = diagnose_run(run, DiagnosisConfig(num_tasks=num_tasks, **options))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    findings = {f["name"]: SimpleNamespace(**f) for f in result["findings"]}
    assert findings.keys() == NAMES and len(findings) == NUM_FINDINGS
    for f in findings.values():
        assert f.verdict in ("ok", "note", "problem", "does not apply")
        assert f.sentence.endswith(".") and "\n" not in f.sentence
        assert f.numbers or f.verdict == "does not apply" or "cannot" in f.sentence
        named = set(re.findall(r"--[a-z-]+", f.next or "")) if "metarl diagnose" not in (f.next or "") else set()
        assert named <= options_of(to_dict(run.config)), f.next
    problems = {name for name, f in findings.items() if f.verdict == "problem"}
    return SimpleNamespace(result=result, findings=findings, problems=problems)


def options_of(config: dict) -> set[str]:
    """Of train.py for such a run."""
    nested = [options_of(value) for value in config.values() if isinstance(value, dict)]
    return {"--resume"}.union({f"--{name.replace('_', '-')}" for name in config}, *nested)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def suggested(finding: SimpleNamespace, option: str) -> float:
    words = finding.next.replace(",", " ").split()
    return float(words[words.index(option) + 1])


# --- The network -------------------------------------------------------------------------------------------------


def layers(run: Run, state: dict) -> list[torch.Tensor]:
    """Views of the parameters in a checkpoint: layers [out, in + 1], and free ones."""
    views, free = run.algorithm.policy.unflatten(state["params"].unsqueeze(0))
    return [*(view[0] for view in views), free[0]]


def register(monkeypatch, name, env_class):
    family = envs.Family(name, f"metarl/{name}-v0", env_class, {"a": envs.point.PointConfig(horizon=10)})
    monkeypatch.setitem(envs.FAMILIES, name, family)
    return {"env": name, "env_preset": "a"}
