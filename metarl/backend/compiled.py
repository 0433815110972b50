"""Functions of tensors compiled for the CPU by PyTorch's Inductor, and kept on disk for the next run.

A compiled step of a policy fuses its many small operations into a few loops. Its numbers are those of the plain
function up to rounding. The random numbers are the same, drawn in the same order, but before the step and not within
it. Parameters are not copied: a compiled function reads those of the module, also after they changed in place.

Where there is no compiler, or a function cannot be compiled, `compiled` returns None, and the plain one serves.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from metarl.backend.cores import on_threads
from metarl.backend.draws import Given, draws_of
from metarl.backend.files import write_atomically
from metarl.backend.products import worthwhile

Function = Callable[..., Sequence[Tensor]]
OPTIONS = {"always_keep_tensor_constants": True, "joint_graph_constant_folding": False}
"""Or else parameters that are short, or all of whose numbers are equal now, would become part of the code."""


def compiled(
    function: Function, module: nn.Module, given: Sequence[Tensor], generator: Generator, threads: int = 1
) -> Function | None:
    """`function` of tensors shaped like `given`, compiled to run on so many threads; None where that is impossible.

    Args:
        function: returns tensors. It reads its arguments, `module` and constants, and draws from `generator` alone.
        module: whose parameters and buffers it reads.
        given: without gaps, as all later arguments must be.
    """
    state = generator.get_state()
    try:
        with on_threads(threads):
            return _compiled(function, module, given, generator)
    except Exception as error:  # of many classes, by what is missing
        reason = str(error).strip().split("\n")[0]
        warnings.warn(f"Steps are not compiled, and act as without it: {reason[:200]}", stacklevel=2)
        return None
    finally:
        generator.set_state(state)


def _compiled(function: Function, module: nn.Module, given: Sequence[Tensor], generator: Generator) -> Function:
    given = [x.clone() for x in given]  # two arguments that are one tensor here would be so in the compiled function
    draws = draws_of(lambda: function(*given), generator)
    flat = _Flat(function, module, len(draws), generator)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(flat, (*[draw(generator) for draw in draws], *given), strict=False)
        _by_onednn(program)
        run = _package(program, flat)
    return lambda *tensors: run([*[draw(generator) for draw in draws], *tensors])


def _package(program: Any, module: nn.Module) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    """The program compiled, from disk where it is there, on the parameters and buffers of the module."""
    path = _folder() / f"{_key(program)}.pt2"
    if not path.exists():
        _build(program, path)
    package = torch._inductor.aoti_load_package(str(path))
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    used = {name: own[name].detach() for name in package.get_constant_fqns() if name in own}
    package.load_constants(used, check_full_update=False, user_managed=True)
    return package.loader.run


_kernels: dict[Hashable, Function] | None = None


@contextmanager
def fusing(kernels: dict[Hashable, Function] | None) -> Iterator[None]:
    """Within this context `fused` compiles, and keeps what it compiled in `kernels`; with None it does not."""
    global _kernels
    before, _kernels = _kernels, kernels
    try:
        yield
    finally:
        _kernels = before


def fused(function: Function, *like: Tensor) -> Function:
    """`function` of tensors of these shapes, compiled within `fusing`; itself elsewhere and where it cannot be.

    Args:
        function: returns tensors. It reads its arguments alone, may write into them, and draws nothing.
        like: without gaps, as all later arguments must be.
    """
    if _kernels is None or any(x.device.type != "cpu" for x in like):
        return function
    key = (function, *((x.shape, x.dtype) for x in like))
    if key not in _kernels:
        run = compiled(function, nn.Module(), like, Generator())
        _kernels[key] = run if run is not None and _agrees(run, function, like) else function
    return _kernels[key]


@torch.no_grad()
def _agrees(run: Function, function: Function, like: Sequence[Tensor]) -> bool:
    """Does the compiled function return and write the same, up to rounding?"""
    generator = Generator()
    numbers = [torch.rand(x.shape, dtype=x.dtype, generator=generator) for x in like]
    found, right = ([*given, *f(*given)] for f, given in ((f, [x.clone() for x in numbers]) for f in (run, function)))
    return all(torch.allclose(x, y, 1e-3, 1e-4) for x, y in zip(found, right, strict=True))


@contextmanager
def other_parameters(module: nn.Module) -> Iterator[None]:
    """Within this context the module's parameters and buffers hold other numbers."""
    tensors = [x.data for x in (*module.parameters(), *module.buffers()) if x.is_floating_point()]
    before = [x.clone() for x in tensors]
    try:
        for x in tensors:
            x.mul_(1.25).add_(0.05)
        yield
    finally:
        for x, old in zip(tensors, before, strict=True):
            x.copy_(old)


def _by_onednn(program: Any) -> None:
    """Large products of parameters, as `metarl/backend/products.py` has them."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    parameters = program.graph_signature.inputs_to_parameters
    for node in program.graph.nodes:
        if node.target == torch.ops.aten.linear.default:
            x, weight, *bias = node.args
            if weight.name in parameters and worthwhile(values[x.name], values[weight.name].mT):
                node.target = torch.ops.mkldnn._linear_pointwise.default
                node.args = (x, weight, bias[0] if bias else None, "none", [], "")
    program.graph_module.recompile()


def _build(program: Any, path: Path) -> None:
    """The package of an exported program, which other processes see as a whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:  # not beside it, where one whose process is killed would stay
        built = torch._inductor.aoti_compile_and_package(
            program,
            package_path=f"{folder}/{path.name}",
            inductor_configs=dict(OPTIONS),  # it adds to them
        )
        write_atomically(path, lambda copy: shutil.copyfile(built, copy))


def _folder() -> Path:
    """Where packages are kept."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl" / "compiled"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(program: Any) -> str:
    """Of what is compiled, where and for how many threads."""
    shapes = [(name, x.shape, x.dtype) for name, x in program.state_dict.items()]
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"]
    machine = (torch.__version__, platform.machine(), _instructions(), torch.get_num_threads())
    constants = [x.tolist() for x in program.constants.values() if isinstance(x, Tensor)]
    text = repr(
        (
            machine,
            OPTIONS,
            shapes,
            [(x.shape, x.stride(), x.dtype) for x in inputs],
            constants,
            program.graph_module.code,
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _instructions() -> str:
    """Of this processor: where machines share a home, code compiled on another one may hold some that it lacks."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    own = (line for line in lines if line.startswith(("flags", "Features")))  # as x86 and ARM call them
    return next(own, torch.backends.cpu.get_cpu_capability())


class _Flat(nn.Module):
    """The function, with its random numbers as its first arguments."""

    def __init__(self, function: Function, module: nn.Module, count: int, generator: Generator) -> None:
        super().__init__()
        self.function, self.module, self.count, self.generator = function, module, count, generator

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        with Given(self.generator, tensors[: self.count]):
            return tuple(self.function(*tensors[self.count :]))
