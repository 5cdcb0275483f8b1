"""PIN's networks against Tables I to III: sizes and shapes, worked out by hand from the tables."""

import pytest
import torch

from lib.defences import Basis, fit_pca
from lib.defences.pca import coefficients
from lib.errors import WorkbookError
from lib.studies.pin.learnable_pca import HardThreshold, LearnablePCA
from lib.studies.pin.networks import Agent, Block, CoefficientAgent, DenoisingAutoencoder


@pytest.fixture(scope="module")
def faces():
    draw = torch.Generator().manual_seed(0)
    return torch.rand(40, 1, 16, 16, generator=draw) * torch.linspace(0.2, 1, 256).view(1, 1, 16, 16)


@pytest.fixture(scope="module")
def basis(faces):
    return Basis(**fit_pca(faces, 12))


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def shapes_after(module, layers, x):
    """Shapes of the outputs of `layers` in a pass of x through `module`."""
    found = []
    for layer in layers:
        layer.register_forward_hook(lambda _, __, out: found.append(tuple(out.shape[1:])))
    module(x)
    return found


def table_1_weights():
    """Two 3x3 convolutions a level without bias, and a PReLU slope for each channel but the last."""
    levels = [(1, 64), (64, 128), (128, 256)]
    down = sum(9 * a * b + 9 * b * b + 2 * b for a, b in levels)
    up = sum(9 * b * b + 9 * b * a + b + a for a, b in levels)
    return down + up - 1


def table_2_weights():
    """A first convolution, then for each level a block of stride 2 and one of stride 1, each with a 1x1 shortcut."""

    def block(a, b):
        return 9 * a * b + 9 * b * b + 2 * b + a * b

    levels = [(64, 64), (64, 128), (128, 256), (256, 512)]
    return 9 * 64 + 64 + sum(block(a, b) + block(b, b) for a, b in levels)


def test_sizes_of_the_three_tables():
    with torch.device("meta"):
        denoiser, agent = DenoisingAutoencoder(), Agent(2500)
    assert count(denoiser) == table_1_weights() == 2_288_256
    assert count(agent.selection) == table_2_weights()
    assert count(agent.selection) == pytest.approx(11.5e6, rel=0.01)
    assert count(agent.head) == 25_088 * 512 + 512 + 512 + 512 * 2500 + 2500
    assert count(agent.head) == pytest.approx(14.1e6, rel=0.01)


def test_shapes_of_the_autoencoder_level_by_level():
    with torch.device("meta"):
        model, x = DenoisingAutoencoder(), torch.rand(2, 1, 112, 112)
        found = shapes_after(model, model.layers, x)
    once = [(64, 112, 112), (64, 56, 56), (128, 56, 56), (128, 28, 28), (256, 28, 28), (256, 14, 14)]
    once += [(256, 28, 28), (128, 28, 28), (128, 56, 56), (64, 56, 56), (1, 112, 112)]
    assert found == once + once  # applied twice


def test_shapes_of_the_selection_level_by_level():
    with torch.device("meta"):
        model, x = Agent(2500), torch.rand(2, 1, 112, 112)
        found = shapes_after(model, [*model.selection, *model.head], x)
    blocks = [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    assert found == [(64, 112, 112), *[shape for shape in blocks for _ in "12"], (25_088,), (512,), (512,), (2500,)]


def test_the_autoencoder_keeps_shape_and_range():
    torch.manual_seed(0)
    model, x = DenoisingAutoencoder(width=2), torch.rand(3, 1, 24, 16)
    out = model(x)
    assert out.shape == x.shape
    assert out.min() >= 0
    assert out.max() <= 1
    once = (model.layers(2 * x - 1) + 1) / 2
    torch.testing.assert_close(out, (model.layers(2 * once - 1) + 1) / 2)


def test_a_block_is_its_body_and_its_shortcut():
    torch.manual_seed(0)
    block, x = Block(3, 5, 2), torch.randn(2, 3, 8, 8)
    assert block(x).shape == (2, 5, 4, 4)
    torch.nn.init.zeros_(block.body[-1][0].weight)
    shortcut = torch.einsum("oi,nihw->nohw", block.shortcut.weight[:, :, 0, 0], x[:, :, ::2, ::2])
    torch.testing.assert_close(block(x), shortcut)


def test_the_denoiser_is_frozen_and_comes_first():
    torch.manual_seed(0)
    denoiser = DenoisingAutoencoder(width=2)
    agent = Agent(7, width=2, hidden=5, denoiser=denoiser, size=(32, 32))
    bare = Agent(7, width=2, hidden=5, size=(32, 32))
    bare.load_state_dict({key: value for key, value in agent.state_dict().items() if not key.startswith("denoiser")})
    x = torch.rand(3, 1, 32, 32, requires_grad=True)
    torch.testing.assert_close(agent(x), bare(denoiser(x)))
    torch.testing.assert_close(bare(x), bare.head(bare.selection((x - 0.5) / 0.5)))  # the source's [-1,1]
    agent(x).square().sum().backward()
    assert x.grad.abs().sum() > 0  # the online attack passes through it
    assert all(weight.grad is None for weight in denoiser.parameters())
    assert all(weight.grad is not None for part in (agent.selection, agent.head) for weight in part.parameters())


def test_every_probability_starts_near_a_half_and_tells_faces_apart():
    torch.manual_seed(0)
    x = torch.rand(6, 1, 112, 112)
    with torch.no_grad():
        agent = Agent(50, width=8, hidden=64)
        features, p = agent.selection(2 * x - 1), agent(x).sigmoid()
    assert 0.3 < features.std() < 3
    assert (p - 0.5).abs().max() < 0.25
    assert p.std(0).mean() > 1e-4


def test_the_coefficient_agent_by_hand(basis):
    agent = CoefficientAgent(basis)
    x = torch.rand(3, 1, 16, 16)
    torch.nn.init.uniform_(agent.level)
    torch.nn.init.uniform_(agent.log_steepness)
    slow = torch.stack([
        torch.stack([agent.log_steepness[j].exp() * (((image.flatten() - basis.mean) @ basis.vectors[:, j]).abs()
                     - agent.level[j]) for j in range(12)]) for image in x
    ])  # fmt: skip
    torch.testing.assert_close(agent(x), slow, atol=1e-5, rtol=1e-5)
    assert {name for name, _ in agent.named_parameters()} == {"level", "log_steepness"}


def test_with_one_level_and_endless_steepness_it_is_the_hard_threshold(basis, faces):
    agent, level = CoefficientAgent(basis), 0.4
    torch.nn.init.constant_(agent.level, level)
    torch.nn.init.constant_(agent.log_steepness, 20.0)
    with torch.no_grad():
        hard = HardThreshold(basis, level)
        kept = coefficients(faces, hard).abs() > level
        assert 0.1 < kept.float().mean() < 0.9
        assert torch.equal(agent(faces).sigmoid().round(), kept.float())
        torch.testing.assert_close(LearnablePCA(basis, agent)(faces), hard(faces))


def test_bad_sizes():
    with pytest.raises(WorkbookError, match="multiples of 16, not among 10 of 112 x 100 pixels"):
        Agent(10, width=2, size=(112, 100))
    with pytest.raises(WorkbookError, match="at least one eigenvector .* not among 0"):
        Agent(0, width=2)
    with pytest.raises(WorkbookError, match="multiples of 8"):
        DenoisingAutoencoder(2)(torch.rand(1, 1, 16, 20))
