"""The content of checkpoint.pt: what torch.save writes, a zip archive.

Each part of it has a CRC-32, which torch.load does not verify; it is verified here.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from envs.errors import InputError

GENERATOR_SHAPES = (list(Generator().get_state().shape), [16])
"""Of the state of a generator on the CPU and on a CUDA device."""


class DamagedError(ValueError):
    """A checkpoint is not what was saved."""


def pack(state: dict[str, Any]) -> bytes:
    """The content of a checkpoint that holds `state`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpack(content: bytes, device: torch.device) -> Any:
    """What `pack` was given, with its tensors on `device`.

    Raises:
        DamagedError: when it was changed, or is something else.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        # attributes are 0 as saved; torch.load takes a part with that of a folder for empty and reads stray memory
        if archive.testzip() or any(part.external_attr for part in archive.infolist()):
            raise DamagedError("a checksum is wrong")
        with warnings.catch_warnings(action="ignore"):
            return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception:  # zipfile and the restricted unpickler can raise almost anything
        raise DamagedError("is damaged, truncated or not a checkpoint") from None


def read(path: Path, like: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The state that a checkpoint holds, with the tensors and numbers that the run's state `like` has.

    Raises:
        InputError: when it was changed, or is another run's.
    """
    try:
        state = unpack(path.read_bytes(), device)
    except DamagedError as error:
        raise InputError(f"{path} {error}; restore a copy, or start a new run in another --run-dir.") from None
    return check(state, like, path)


def check(state: Any, like: dict[str, Any], path: Path) -> dict[str, Any]:
    """A state that was read from a file, if it has the tensors and numbers of the run's state `like`.

    Raises:
        InputError: when it has not.
    """
    try:
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        check_values(state, like)
        _check_counts(state)
    except (KeyError, TypeError, ValueError) as error:
        raise foreign(path, error) from None
    return state


def foreign(path: Path, error: Exception) -> InputError:
    """What to raise for a checkpoint that does not fit the run, and why."""
    return InputError(f"{path} is not a checkpoint of the run in config.json beside it: {reason(error)}.")


def reason(error: Exception) -> str:
    """Its first line."""
    message = (str(error) or type(error).__name__).splitlines()[0]
    return f"the field {message} is missing" if isinstance(error, KeyError) else message


def check_values(found: Any, like: Any, name: str = "state") -> None:
    """Raise `ValueError` unless all numbers are finite and tensors have the dtype of those in `like`, by name."""
    if isinstance(found, dict):
        for key, value in found.items():
            check_values(value, like.get(key) if isinstance(like, dict) else None, str(key))
    elif isinstance(found, list | tuple):
        for value in found:
            check_values(value, None, name)
    elif isinstance(found, Tensor):
        if isinstance(like, Tensor) and found.dtype != like.dtype:
            raise ValueError(f"its {name} are {found.dtype}, not {like.dtype}")
        if found.is_floating_point() and not found.isfinite().all():
            raise ValueError(f"its {name} are not all finite")
    elif isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"its {name} is {found}")


def _check_counts(state: dict[str, Any]) -> None:
    """Raise `ValueError` or `TypeError` unless the numbers and the generator's state of a checkpoint can be right."""
    for name, kind in (("iteration", int), ("env_steps", int), ("seconds", float)):
        if type(state[name]) is not kind or state[name] < 0:
            raise ValueError(f"its {name} is {state[name]!r}")
    generator = state["generator"]
    if not isinstance(generator, Tensor) or generator.dtype != torch.uint8:
        raise TypeError("its generator is not one")
    if list(generator.shape) not in GENERATOR_SHAPES:
        raise ValueError(f"the state of its generator has the shape {list(generator.shape)}")
