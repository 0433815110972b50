"""Random numbers drawn before a function: the same ones, and refusal where Python would read tensors."""

import pytest
import torch
from torch import Generator

from metarl.backend.draws import Given, draws_of


def test_drawn_before_a_call_they_are_those_of_the_call():
    generator = Generator().manual_seed(0)

    def function():
        noise = torch.empty(3).exponential_(generator=generator)
        return noise + torch.rand(3, generator=generator)

    before = generator.get_state()
    draws = draws_of(function, generator)
    generator.set_state(before)
    right = function()
    generator.set_state(before)
    numbers = [draw(generator) for draw in draws]
    with Given(generator, numbers):
        assert torch.equal(function(), right)


@pytest.mark.parametrize(
    "function",
    [
        lambda g: torch.rand(2, generator=g).tolist(),
        lambda g: bool(torch.ones(1) > 0),
        lambda g: torch.multinomial(torch.ones(3), 1, generator=g),
    ],
    ids=["list", "bool", "multinomial"],
)
def test_a_function_that_reads_or_draws_by_numbers_is_refused(function):
    generator = Generator()
    with pytest.raises(NotImplementedError):
        draws_of(lambda: function(generator), generator)
