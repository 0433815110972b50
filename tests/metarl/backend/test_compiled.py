"""Compiled functions: the same random numbers, parameters that change, and none without a compiler.

tests/metarl/algorithms/test_compiled_trials.py compiles, and finds on disk what was compiled.
"""

import pytest
import torch
from torch import Generator, nn

from metarl.backend import compiled
from metarl.backend.compiled import compiled as compile_function


def noisy(generator):
    layer = nn.Linear(3, 3)

    def function(x, y):
        noise = torch.empty_like(x).exponential_(generator=generator)
        return [layer(x) + noise, y * torch.rand(4, 3, generator=generator) + torch.randn((4, 3), generator=generator)]

    return layer, function


def check(run, layer, function, generator):
    """Is `run` `function`, also once the parameters have changed?"""
    x = torch.randn(4, 3)
    for _ in range(2):
        state = generator.get_state()
        with torch.no_grad():
            right, after = function(x, x + 1), generator.get_state()
            generator.set_state(state)
            for found, expected in zip(run(x, x + 1), right, strict=True):
                torch.testing.assert_close(found, expected)
            layer.weight.mul_(2)
        assert torch.equal(generator.get_state(), after)


def test_random_numbers_are_drawn_before_the_step_in_its_order(monkeypatch):
    monkeypatch.setattr(compiled, "_package", lambda program, module: lambda tensors: program.module()(*tensors))
    generator = Generator().manual_seed(0)
    layer, function = noisy(generator)
    before, same = generator.get_state(), torch.ones(4, 3)
    run = compile_function(function, layer, [same, same], generator)
    assert torch.equal(generator.get_state(), before)
    check(run, layer, function, generator)


def test_what_cannot_be_compiled_is_left_to_the_plain_function(monkeypatch, tmp_path):
    def without_compiler(program, path):
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "_build", without_compiler)
    generator = Generator().manual_seed(0)
    before, given = generator.get_state(), [torch.ones(4, 3), torch.ones(4, 3)]
    layer, function = noisy(generator)
    with pytest.warns(UserWarning, match=r"No working C\+\+ compiler found$"):
        assert compile_function(function, layer, given, generator) is None
    with pytest.warns(UserWarning, match="multinomial"):
        drawn = compile_function(lambda x: [torch.multinomial(x, 1, generator=generator)], layer, given[:1], generator)
    assert drawn is None and torch.equal(generator.get_state(), before)


def test_code_is_kept_apart_for_processors_with_other_instructions(monkeypatch):
    keys = []
    monkeypatch.setattr(compiled, "_package", lambda program, module: keys.append(compiled._key(program)))
    generator = Generator().manual_seed(0)
    layer, function = noisy(generator)
    for instructions in ("avx2", "avx2", "avx2 avx512_bf16"):
        monkeypatch.setattr(compiled, "_instructions", lambda it=instructions: it)
        compile_function(function, layer, [torch.ones(4, 3), torch.ones(4, 3)], generator)
    assert keys[0] == keys[1] != keys[2]
