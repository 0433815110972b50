"""The robots' models against Gymnasium's: the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from robots import THEIRS

from envs.physics.model import MODELS, load_model

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


LOOKS = re.compile(
    r"(cam|light|mat|tex|names?|numeric|n(cam|light|mat|names|names_map|numeric|numericdata|tex|texdata))_?"
)


MEMORY = {"narena", "nbuffer", "signature"}


DIFFERENT = {
    # The scales of solver tolerances: the compiler does not renew them when it scales the masses, mj_setConst does.
    "half_cheetah": {"geom_user", "nuser_geom", "stat.meaninertia", "stat.meanmass"},
    # The cone on which the C engine and Warp agree, and the sensor that makes engines compute contact forces.
    "ant": {"opt.cone", "nsensor", "nsensordata", *(x for x in dir(mujoco.MjModel) if x.startswith("sensor_"))},
    "walker2d": set(),
    "hopper": set(),
}


def numbers(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """All fields of a model but those for rendering, names and memory."""
    found = {}
    for prefix, holder in (("", model), ("opt.", model.opt), ("stat.", model.stat)):
        for name in dir(holder):
            value = None if name.startswith("_") else getattr(holder, name)
            if isinstance(value, int | float | np.ndarray) and not LOOKS.match(name) and name not in MEMORY:
                found[prefix + name] = np.asarray(value)
    return {name: x for name, x in found.items() if name not in ("geom_rgba", "geom_matid")}


@pytest.mark.parametrize("name", THEIRS)
def test_the_numbers_are_gymnasiums(name):
    ours, theirs = numbers(load_model(name)), numbers(mujoco.MjModel.from_xml_path(str(ASSETS / THEIRS[name][1])))
    assert len(ours) > 200 and ours.keys() == theirs.keys()
    different = {x for x in ours if not np.array_equal(ours[x], theirs[x])}
    assert different <= DIFFERENT[name]
    if name == "ant":
        assert ours["opt.cone"] == mujoco.mjtCone.mjCONE_ELLIPTIC and theirs["opt.cone"] == 0
        assert ours["nsensor"] == 1 and theirs["nsensor"] == 0
    if name == "half_cheetah":
        assert ours["body_subtreemass"][0] == pytest.approx(14)
        assert ours["stat.meaninertia"] == pytest.approx(5.599, abs=1e-3)
        assert theirs["stat.meaninertia"] == pytest.approx(3.723, abs=1e-3)


class TestAnt:
    def test_without_a_sensor_forces_would_silently_be_zero(self):
        text = (MODELS / "ant.xml").read_text()
        model = mujoco.MjModel.from_xml_string(re.sub(r"<sensor>.*</sensor>", "", text, flags=re.DOTALL))
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data, nstep=100)
        assert data.ncon > 0 and (data.cfrc_ext == 0).all()
