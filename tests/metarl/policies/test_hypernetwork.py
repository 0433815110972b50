"""Hypernetworks: the generated layers against explicit ones, and the network that they start as."""

import torch
import trials
from torch.nn import functional

from metarl.policies.hypernetwork import Hypernetwork
from metarl.policies.rl2 import RL2Config


@torch.no_grad()
def test_generated_layers_are_those_of_an_ordinary_network_with_the_same_weights():
    torch.manual_seed(0)
    net = Hypernetwork(6, 3, 4).double()
    net.generate.weight.normal_()
    state, obs = torch.randn(5, 7, 6).double(), torch.randn(5, 7, 3).double()
    found = net(state, obs)
    for b, t in ((0, 0), (4, 6), (2, 3)):
        weights = net.generate.weight @ state[b, t] + net.generate.bias
        w_hidden, b_hidden, w_out, b_out = weights.split([32 * 32, 32, 4 * 32, 4])
        y = functional.silu(functional.linear(net.embed(obs[b, t]), w_hidden.view(32, 32), b_hidden))
        torch.testing.assert_close(found[b, t], functional.linear(y, w_out.view(4, 32), b_out))


@torch.no_grad()
def test_at_first_every_state_generates_the_same_ordinary_policy():
    """Whose weights are those of linear layers, and not of a tenth of their size or ten times it."""
    torch.manual_seed(0)
    env = trials.board()
    network = RL2Config(16, head="hypernetwork").make(env, 3, torch.Generator().manual_seed(0))
    rows, _ = trials.play(env, network)
    net = network.hypernetwork
    states = torch.randn((*rows.mask.shape, 16))
    w_hidden, b_hidden, w_out, _ = net.weights(states)
    for generated in (w_hidden, b_hidden, w_out):
        assert torch.equal(generated, generated[:1, :1].expand_as(generated))
    assert 0.5 < float(w_hidden.std()) / (1 / 3 / 32) ** 0.5 < 2
    obs = network.normalized_obs(rows.inputs)
    torch.testing.assert_close(net(states, obs), net(states.flip(0), obs))
    assert net(states, obs).std() > 0


def test_its_first_gradient_reaches_the_generator():
    net = Hypernetwork(6, 3, 4)
    net(torch.randn(5, 6), torch.randn(5, 3)).square().sum().backward()
    assert net.generate.weight.grad.abs().max() > 0
