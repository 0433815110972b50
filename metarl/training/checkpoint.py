"""The content of checkpoint.pt: what torch.save writes, which is a zip archive, with a SHA-256 as its comment.

torch.load verifies none of the archive's checksums. The digest covers all bytes before it, so that no changed bit goes
unnoticed, and torch.load reads the file as any other of its kind.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
import zipfile
from typing import Any

import torch
from torch import Tensor

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
