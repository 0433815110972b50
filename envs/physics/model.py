"""The robots' models: MJCF files, and how they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.errors import InputError

MODELS = Path(__file__).parent.parent / "locomotion" / "models"


def load_model(name: str) -> Any:
    """The `mujoco.MjModel` of `models/NAME.xml`, scaled to its `total_mass` (kg) where it names one.

    Raises:
        InputError: when MuJoCo is missing or does not start.
    """
    try:
        import mujoco
    except ImportError:
        raise InputError(
            "MuJoCo is missing here, and locomotion needs it; install it with: pip install mujoco."
        ) from None
    except RuntimeError as error:  # an environment variable that MuJoCo reads has a value that it does not know
        raise InputError(f"MuJoCo does not start here: {error}.") from None

    model = mujoco.MjModel.from_xml_path(str(MODELS / f"{name}.xml"))
    if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, "total_mass") >= 0:
        mujoco.mj_setTotalmass(model, float(model.numeric("total_mass").data[0]))
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model
