"""A robot in its scenery: MuJoCo's renderer over a copy of the model that has colours, a ground and lights."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from envs.locomotion.headless import make_current
from envs.physics.model import MODELS

SKY, HAZE = (0.957, 0.965, 0.976), (0.886, 0.910, 0.941)  # #f4f6f9 and, at the horizon, a little darker
GROUND, GROUND_DARK, SEAM = (236, 240, 245), (216, 225, 236), (193, 204, 219)
TRUNK, LIMBS = (0.122, 0.373, 0.706), ((0.071, 0.188, 0.431), (0.36, 0.62, 0.90))
OVER = 2  # rendered twice as large and reduced, for smooth edges
FIELD = 30  # degrees from the lower to the upper edge of the image
MAX_STAGES = 6

_stages: dict[tuple[str, int, int], Stage] = {}


class Stage:
    """Draws one model at one size.

    Attributes:
        model: a copy of the simulated model, which is not touched.
        extent: width and height of the robot in m.
    """

    def __init__(self, name: str, width: int, height: int) -> None:
        make_current()
        self.width, self.height = width, height
        self.model = dressed(name, OVER * width, OVER * height)
        self.data = mujoco.MjData(self.model)
        self.scene = mujoco.MjvScene(self.model, maxgeom=1000)
        self.scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = True
        self.context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self.camera, self.options = mujoco.MjvCamera(), mujoco.MjvOption()
        self.pixels = np.empty((OVER * height, OVER * width, 3), np.uint8)
        self.extent = self.box()
        atexit.register(self.close)  # runs before the OpenGL context is freed, for it was registered later

    def pose(self, qpos: np.ndarray) -> np.ndarray:
        """Put the robot there. Returns where its trunk is, [3] in m."""
        self.data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        return self.data.xpos[1].copy()

    def look(self, at: Sequence[float], distance: float, azimuth: float, elevation: float) -> None:
        """Point the camera: metres and degrees. Starts the scene anew, without additions."""
        self.camera.lookat[:], self.camera.distance = at, distance
        self.camera.azimuth, self.camera.elevation = azimuth, elevation
        self.context.shadowClip = distance  # beyond this the ground would get shadows at random
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateCamera(self.model, self.data, self.camera, self.scene)  # before the ground is put below it
        mujoco.mjv_updateScene(self.model, self.data, self.options, None, self.camera, everything, self.scene)

    def add(self, shape: str, start: ArrayLike, end: ArrayLike, radius: float, colour: Sequence[float]) -> None:
        """Add a cylinder, capsule or arrow between two points (m), until the scene starts anew. `colour`: RGBA."""
        if self.scene.ngeom == self.scene.maxgeom:
            return
        geom, kind = self.scene.geoms[self.scene.ngeom], getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}")
        mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.eye(3).ravel(), np.array(colour, np.float32))
        mujoco.mjv_connector(geom, kind, radius, np.asarray(start, float), np.asarray(end, float))
        geom.category, geom.emission, geom.specular = mujoco.mjtCatBit.mjCAT_DECOR, 0.0, 0.0
        self.scene.ngeom += 1

    def image(self) -> Image.Image:
        make_current()
        area = mujoco.MjrRect(0, 0, OVER * self.width, OVER * self.height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        mujoco.mjr_render(area, self.scene, self.context)
        mujoco.mjr_readPixels(self.pixels, None, area, self.context)
        return Image.fromarray(self.pixels[::-1]).reduce(OVER)  # OpenGL begins at the bottom

    def project(self, points: np.ndarray) -> np.ndarray:
        """Where points [n, 3] (m) are in the image: [n, 3], x and y in pixels, and the depth in m."""
        eyes = self.scene.camera
        forward, up = np.array(eyes[0].forward), np.array(eyes[0].up)
        offset = points - (np.array(eyes[0].pos) + np.array(eyes[1].pos)) / 2
        depth = offset @ forward
        scale = self.height / 2 / np.tan(np.radians(FIELD / 2)) / depth
        x, y = self.width / 2 + offset @ np.cross(forward, up) * scale, self.height / 2 - offset @ up * scale
        return np.stack([x, y, depth], -1)

    def box(self) -> tuple[float, float]:
        """Width (m) of the robot in its initial pose, along x or y, and the height of its top above the ground."""
        self.pose(self.model.qpos0)
        robot = self.model.geom_bodyid > 0
        half = self.model.geom_size[:, :1].copy()  # radius of a sphere or capsule
        rod = np.where(self.model.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE, self.model.geom_size[:, 1], 0.0)
        half = half + rod[:, None] * np.abs(self.data.geom_xmat[:, 2::3])  # a capsule lies along its own z axis
        low, high = ((self.data.geom_xpos + sign * half)[robot] for sign in (-1, 1))
        low, high = low.min(0), high.max(0)
        return float((high - low)[:2].max()), float(high[2])

    def close(self) -> None:
        atexit.unregister(self.close)
        make_current()
        self.context.free()


def dressed(name: str, width: int, height: int) -> Any:
    """The `mujoco.MjModel` of a file with scenery: an endless chequered ground with squares of 1 m, and lights."""
    spec = mujoco.MjSpec.from_file(str(MODELS / f"{name}.xml"))
    for group in (spec.lights, spec.cameras):
        for old in list(group):
            spec.delete(old)
    spec.visual.global_.offwidth, spec.visual.global_.offheight, spec.visual.global_.fovy = width, height, FIELD
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 1024, 0
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.6] * 3, [0.0] * 3
    spec.visual.headlight.specular = [0.0] * 3
    spec.visual.rgba.fog[:3], spec.visual.rgba.haze[:3] = HAZE, HAZE
    spec.stat.extent = 1.0
    spec.visual.map.znear, spec.visual.map.zfar = 0.05, 30
    spec.visual.map.fogstart, spec.visual.map.fogend = 7, 26

    sky = spec.add_texture(name="scenery sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=384)
    sky.builtin, sky.rgb1, sky.rgb2 = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, SKY, HAZE
    squares = ground_texture(256)
    ground = spec.add_texture(name="scenery ground", type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
    ground.width, ground.height, ground.data = *squares.shape[:2], squares.tobytes()
    material = spec.add_material(name="scenery ground", texuniform=True, texrepeat=[1, 1], specular=0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "scenery ground"

    trunk = spec.worldbody.first_body()
    paint(trunk, TRUNK)
    limbs = list(trunk.bodies)
    for i, limb in enumerate(limbs):
        for depth, body in enumerate([limb, *limb.find_all("body")]):
            paint(body, LIMBS[2 * i // len(limbs) if len(limbs) > 1 else depth % 2])
    for geom in spec.worldbody.geoms:
        if geom.type == mujoco.mjtGeom.mjGEOM_PLANE:
            geom.size, geom.material, geom.rgba = [0, 0, 1], "scenery ground", [1, 1, 1, 1]  # size 0: endless
    for light, way, strength in (("sun", (0.25, 0.4, -1.0), 0.38), ("fill", (0.5, 1.0, -0.1), 0.3)):
        lamp = trunk.add_light(name=f"scenery {light}", pos=[-4 * x for x in way], dir=way, castshadow=light == "sun")
        lamp.type, lamp.mode = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, mujoco.mjtCamLight.mjCAMLIGHT_TRACK
        lamp.ambient, lamp.diffuse, lamp.specular = [0.0] * 3, [strength] * 3, [0.15] * 3
    return spec.compile()


def paint(body: Any, colour: Sequence[float]) -> None:
    for geom in body.geoms:
        geom.material, geom.rgba = "", [*colour, 1]


def ground_texture(pixels: int) -> np.ndarray:
    """Four squares of 1 m with a thin line between them, uint8 [2 pixels, 2 pixels, 3]."""
    image = np.empty((2, pixels, 2, pixels, 3), np.uint8)
    image[:], image[0, :, 0], image[1, :, 1] = GROUND, GROUND_DARK, GROUND_DARK
    line = max(1, round(0.008 * pixels))
    image[:, :line], image[:, -line:], image[:, :, :, :line], image[:, :, :, -line:] = SEAM, SEAM, SEAM, SEAM
    return image.reshape(2 * pixels, 2 * pixels, 3)


def stage(name: str, width: int, height: int) -> Stage:
    """The stage of a model and size, cached; when there are too many, the oldest is closed."""
    key = name, width, height
    if key not in _stages:
        if len(_stages) == MAX_STAGES:
            _stages.pop(next(iter(_stages))).close()
        _stages[key] = Stage(*key)
    return _stages[key]
