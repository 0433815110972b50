"""A GPU rehearsed without one: no method mixes devices, waits for one, or reads from it more often than it must.

`python tests/helpers/no_device.py PRESET ...` rehearses any other preset.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest
import torch

import envs
from metarl.policies.cells import CELLS
from metarl.policies.memory import MEMORIES
from metarl.training.presets import METHODS
from metarl.training.suites import suite_of

pytestmark = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch cannot register a device from Python",
)

FAST = ["maml-tabular-mdp", "promp-bandit", "reptile-gridworld", "metanet-bandit"]
OWN = [method for method in METHODS if not method.startswith("sb3")]
"""Methods on tensors; SB3 collects in NumPy."""
LIKE_OTHERS = {"count-recall", "autoencode", "gaussian-bandit", "dark-room"}
"""Families of the same class as another one."""
BATCHED = [f for f in envs.FAMILIES if f not in LIKE_OTHERS and not hasattr(envs.make_config(f), "engine")]


def suited(method: str, family: str) -> str:
    """The family, or another one for a method that does not suit it."""
    return next(f for f in (family, "tabular-mdp", "point") if METHODS[method].suits(suite_of(f)))


METHODS_LEFT = [m for m in OWN if not any(name.startswith(f"{m}-") for name in FAST)]
FAMILIES_LEFT = [f for f in BATCHED if not any(name.endswith(f"-{f}") for name in FAST)]
PAIRS = zip(
    cycle(METHODS_LEFT), cycle(FAMILIES_LEFT[::-1]), range(max(len(METHODS_LEFT), len(FAMILIES_LEFT))), strict=False
)
SLOW = [f"{method}-{suited(method, family)}" for method, family, _ in PAIRS]
"""With `FAST`, each method and each family at least once, but for methods that do not suit theirs."""
KINDS = [f"metanet-bandit,memory={kind},minibatches=1" for kind in MEMORIES if "delta" not in kind]
"""Memories beside the delta rule, which presets have."""
CELLS_TOO = [f"rl2-bandit,cell={cell}" for cell in CELLS if cell != "gru"] + ["rl2-bandit,head=hypernetwork"]
"""Cells and heads of RL² beside those of its presets."""

LINE_SEARCH = 3  # as many as no_device.py allows
UPDATE_READS = {
    "maml": 1 + LINE_SEARCH,  # each trial of a line search is judged by the host; here none is accepted
    "fomaml": 1 + LINE_SEARCH,
    "meta-sgd": 2 + LINE_SEARCH,  # and the mean of the learned rates
    "varibad": 2,  # its metrics, and those of its model
}
"""Reads in an update; all other methods read their metrics at once."""
EVALUATION_READS = 2
"""Are all returns finite? And the returns."""
LAUNCHES = {"maml-tabular-mdp": 1_400, "promp-bandit": 2_050, "reptile-gridworld": 1_250, "metanet-bandit": 4_000}
"""Most kernels that collecting and an update may start: what a small batch costs on a GPU. Lower them with these."""
SENDS = {"glyphs": {"sample": 2, "collect": 2}}
"""Arrays of the host that are sent: tables of letters, and once their images."""


WRONG = {
    "mixed devices": ("x + torch.zeros(3)", "FakeTensor"),
    "a shape that depends on data": ("x[x > 0]", "Dynamic"),
    "a read": ("float(x.sum())", "1 reads"),
    "a copy": ("x.cpu()", "1 reads"),
    "numbers of the host": ("x + torch.tensor([1.0, 2.0, 3.0], device=DEVICE)", "1 sends"),
}
SCRIPT = """
import json, sys, torch, no_device
from no_device import DEVICE, FakeTensorMode, Host
no_device.install()
names, wrong = json.load(sys.stdin)
seen = []
for work in wrong:
    with FakeTensorMode():
        x = torch.zeros(3, device=DEVICE)
        try:
            with Host() as host:
                eval(work)
            seen.append(f"{sum(host.reads.values())} reads, {sum(host.sends.values())} sends")
        except Exception as error:
            seen.append(f"{type(error).__name__} {error}")
print(json.dumps([no_device.rehearsals(names), seen]))
"""


@pytest.fixture(scope="module")
def rehearsed() -> tuple[dict[str, dict], list[str]]:
    """What is found for each preset, and what is seen of each wrong work: in a process of its own, for all tests."""
    asked = json.dumps([[*FAST, *SLOW, *KINDS, *CELLS_TOO], [work for work, _ in WRONG.values()]])
    helpers = Path(__file__).parent / "helpers"
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=helpers, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, seen = json.loads(done.stdout)
    return found, seen


def check(name: str, found: dict) -> None:
    assert "error" not in found, found["error"]
    method = max((m for m in OWN if name.startswith(f"{m}-")), key=len)
    reads = {"sample": 0, "collect": 0, "update": UPDATE_READS.get(method, 1), "evaluate": EVALUATION_READS}
    sends = SENDS.get(name.removeprefix(f"{method}-"), {})
    for part, counts in found.items():
        assert sum(counts["reads"].values()) <= reads[part], (part, counts["reads"])
        assert sum(counts["sends"].values()) <= sends.get(part, 0), (part, counts["sends"])
        assert counts["launches"] > 0, part


def test_a_device_is_rehearsed(rehearsed):
    found, _ = rehearsed
    for name, most in LAUNCHES.items():
        check(name, found[name])
        assert found[name]["collect"]["launches"] + found[name]["update"]["launches"] <= most, name


@pytest.mark.slow
def test_every_method_family_and_memory_is_rehearsed(rehearsed):
    found, _ = rehearsed
    for name in found:
        check(name, found[name])


def test_what_a_device_would_not_bear_is_seen(rehearsed):
    _, said = rehearsed
    for (what, (_, expected)), found in zip(WRONG.items(), said, strict=True):
        assert expected in found, (what, found)
