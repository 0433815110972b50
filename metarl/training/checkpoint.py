"""The content of checkpoint.pt: what torch.save writes, which is a zip archive, with a SHA-256 as its comment.

torch.load verifies none of the archive's checksums. The digest covers all bytes before it, so that no changed bit goes
unnoticed, and torch.load reads the file as any other of its kind.
"""

from __future__ import annotations

import hashlib
import io
import math
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from envs.errors import InputError

GENERATOR_SHAPES = (list(Generator().get_state().shape), [16])
"""Of the state of a generator on the CPU and on a CUDA device."""
MARK = b"metarl-toolkit sha256 "
DIGITS = 64


class DamagedError(ValueError):
    """A checkpoint is not what was saved. The message goes on after its name."""


def pack(state: dict[str, Any]) -> bytes:
    """The content of a checkpoint that holds `state`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    archive = buffer.getvalue()
    length = (len(MARK) + DIGITS).to_bytes(2, "little")  # instead of 0: the archive ends with that of its comment
    content = archive[:-2] + length + MARK
    return content + hashlib.sha256(content).hexdigest().encode()


def unpack(content: bytes, device: torch.device) -> tuple[Any, bool]:
    """What `pack` was given, with its tensors on `device`, and whether a digest vouches for it.

    Checkpoints of older versions have none; the CRC-32 of each part of the archive is checked instead.

    Raises:
        DamagedError: when it was changed, or is something else.
    """
    sealed = content[-DIGITS:] == hashlib.sha256(content[:-DIGITS]).hexdigest().encode()
    plain = content[-22:-18] == b"PK\5\6" and content[-2:] == b"\0\0"  # an archive that ends without a comment
    if not sealed and not plain:
        changed = content[-DIGITS - len(MARK) : -DIGITS] == MARK
        raise DamagedError(
            "is damaged: its content is not what was saved" if changed else "is truncated or not a checkpoint"
        )
    try:
        if not sealed and zipfile.ZipFile(io.BytesIO(content)).testzip():
            raise DamagedError("is damaged: its content is not what was saved")
        with warnings.catch_warnings(action="ignore"):
            return torch.load(io.BytesIO(content), map_location=device, weights_only=True), sealed
    except DamagedError:
        raise
    except Exception:  # the restricted unpickler can raise almost anything
        raise DamagedError("is truncated or not a checkpoint") from None


def read(path: Path, like: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The state that a checkpoint holds, with the tensors and numbers that the run's state `like` has.

    Raises:
        InputError: when it was changed, or is another run's.
    """
    try:
        state, sealed = unpack(path.read_bytes(), device)
    except DamagedError as error:
        raise InputError(f"{path} {error}; restore it from a copy, or train anew in another --run-dir.") from None
    try:
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        check_values(state, like)
        _check_counts(state)
    except (KeyError, TypeError, ValueError) as error:
        raise foreign(path, error) from None
    if not sealed:
        print(
            f"note: {path} is of an older version, without a digest; the checksums of its parts are right.",
            file=sys.stderr,
        )
    return state


def foreign(path: Path, error: Exception) -> InputError:
    """What to raise for a checkpoint that does not fit the run, and why."""
    message = (str(error) or type(error).__name__).splitlines()[0]
    message = f"the field {message} is missing" if isinstance(error, KeyError) else message
    return InputError(f"{path} is not a checkpoint of the run in config.json beside it: {message}.")


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
            raise ValueError(f"its {name} are of {found.dtype}, and here {like.dtype} is right")
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
        raise TypeError("its generator is none")
    if list(generator.shape) not in GENERATOR_SHAPES:
        raise ValueError(f"the state of its generator has the shape {list(generator.shape)}")
