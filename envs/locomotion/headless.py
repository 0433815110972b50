"""OpenGL without a display, for MuJoCo's renderer: EGL, otherwise OSMesa, or whatever MUJOCO_GL names.

MuJoCo chooses once, when it is imported, and then takes MUJOCO_GL's word for it. Here the first backend that really
makes a context is taken, in this process and whether or not MuJoCo was imported before.
"""

from __future__ import annotations

import atexit
import os
import sys
from functools import cache
from importlib import import_module
from typing import Any

from envs.errors import InputError

BACKENDS = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw", "glx": "mujoco.glfw"}
"""Modules with a class GLContext, by the values of MUJOCO_GL that name them."""
OFF = ("disable", "disabled", "off", "false", "0")
PACKAGES = "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri (or libosmesa6)"


def make_current() -> None:
    """Make this process's OpenGL context current; it is created on first use and freed at exit.

    Raises:
        InputError: when there is none, with what to install.
    """
    context = open_context()
    if isinstance(context, str):
        raise InputError(context)
    context.make_current()


@cache
def open_context() -> Any:
    """The context, or a sentence that says why there is none."""
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked in OFF:
        return f"Rendering is switched off here by MUJOCO_GL={asked}; unset it to draw images and videos."
    if sys.platform != "linux":  # there MuJoCo knows best
        import mujoco

        return (
            _attempt("mujoco") or f"MuJoCo {mujoco.__version__} found no OpenGL here, and locomotion is drawn with it."
        )
    for name in [asked] if asked in BACKENDS else ["egl", "osmesa"]:
        before = {key: os.environ.get(key) for key in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
        os.environ["MUJOCO_GL"] = name  # libmujoco reads it when it looks for OpenGL's functions
        context = _attempt(BACKENDS[name])
        if context:
            return context
        _forget(before)
    problem = f"MUJOCO_GL={asked} does not work" if asked in BACKENDS else "neither EGL nor OSMesa works"
    return f"Images of locomotion need OpenGL, and {problem} here; on Debian or Ubuntu install it with: {PACKAGES}."


def _attempt(module: str) -> Any:
    """A context that MuJoCo can draw in, or None."""
    try:
        import mujoco

        context = import_module(module).GLContext(64, 64)  # MuJoCo draws into buffers of its own: any size does
        # Freed here and by nothing else: at exit, before MuJoCo closes the display, and not after it.
        atexit.register(context.free)
        context.make_current()
        mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100).free()
        return context
    except Exception:  # whatever a missing or broken library raises: ImportError, AttributeError, GLError, FatalError
        return None


def _forget(environment: dict[str, str | None]) -> None:
    """Undo a failed attempt: PyOpenGL binds itself to one platform when it is imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "OpenGL" or name.startswith("mujoco.egl")]:
        del sys.modules[name]
    for key, value in environment.items():
        os.environ.pop(key, None)
        if value is not None:
            os.environ[key] = value
