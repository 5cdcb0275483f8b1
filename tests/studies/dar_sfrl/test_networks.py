import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.networks import (
    OPERATORS,
    ChannelAttentionBlock,
    Guarded,
    Pixels,
    Restorer,
    Stage,
    count_multiply_adds,
    count_weights,
)


def test_weights_are_those_counted_in_the_released_code():
    assert count_weights(Stage()) == 8946
    assert [count_weights(Restorer(k)) for k in (1, 2, 3, 4, 5)] == [8946 * k for k in (1, 2, 3, 4, 5)]
    assert count_weights(Restorer(3)) == 26838
    assert count_weights(Restorer(3, shared_prelu=True)) == 26838 - 9 + 2  # three PReLUs a stage become two in all


def test_multiply_adds_at_64_pixels_are_35_million_a_stage():
    by_hand = 64 * 64 * (4 * 3 * 32 * 9 + 3 * 16 * 9 + 2 * 16 * 16 * 9 + 16 * 3) + 2 * 16 * 8
    assert count_multiply_adds(Restorer(1), 64) == by_hand
    assert count_multiply_adds(Restorer(3), 64) == 3 * by_hand
    assert round(3 * by_hand / 1e6) == 105


def test_an_lstm_is_counted_by_hand():
    tokens = (16 // 4) ** 2
    plain = 2 * (tokens * (2 * 48 * 32))
    recurrent = 2 * tokens * 2 * (2 * 4 * 32 * 32)  # two layers, four gates, input and state
    rest = 16 * 16 * (3 * 16 * 9 + 2 * 16 * 16 * 9 + 16 * 3) + 2 * 16 * 8
    assert count_multiply_adds(Restorer(1, "LSTM", hidden=32), 16) == plain + recurrent + rest


def reference_stage(stage, face, attacked):
    """Equations 8 to 10 one by one."""
    w = dict(stage.named_parameters())

    def conv(x, name):
        padding = w[f"{name}.weight"].shape[2] // 2
        return nn.functional.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=padding)

    def prelu(x, name):
        return torch.where(x > 0, x, w[f"{name}.weight"] * x)

    def operator(x, name):
        return x + conv(prelu(conv(x, f"{name}.body.0"), f"{name}.body.1"), f"{name}.body.2")

    gradient = operator(operator(face, "degrade") - attacked, "transposed")
    h = face - w["alpha"] * gradient
    lifted = conv(h, "lift")
    found = conv(prelu(conv(lifted, "block.body.0"), "block.body.1"), "block.body.2")
    squeezed = conv(found.mean((2, 3), keepdim=True), "block.attention.1").clamp_min(0)
    gate = conv(squeezed, "block.attention.3").sigmoid()
    return conv(found * gate + lifted, "out") + h


def test_a_stage_is_the_equations():
    with seeded(0):
        stage, face, attacked = Stage(), torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    assert torch.allclose(stage(face, attacked), reference_stage(stage, face, attacked), atol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS)
def test_unrolling_chains_the_stages_and_residuals_complete_them(operator):
    with seeded(0):
        restorer, x = Restorer(2, operator, hidden=8).eval(), torch.rand(2, 3, 8, 8)
    restored = restorer.unroll(x)
    first = restorer.stages[0](x, x)
    assert torch.equal(restored.faces[0], first)
    assert torch.equal(restored.faces[1], restorer.stages[1](first, x))
    assert all(torch.allclose(f + n, x, atol=1e-6) for f, n in zip(*restored, strict=True))
    assert torch.equal(restorer(x), restored.faces[1])
    restorer(x).sum().backward()

    assert all(weight.grad is not None for weight in restorer.parameters())


def test_the_four_operators_differ():
    x = torch.rand(1, 3, 8, 8)
    found = []
    for operator in OPERATORS:
        with seeded(0):
            found.append(Restorer(1, operator, hidden=8)(x))
    assert len({round(image.sum().item(), 4) for image in found}) == 4


def test_pixels_and_guarded_are_what_they_say():
    x = torch.rand(2, 3, 8, 8)
    restorer = Restorer(1)
    assert torch.equal(Pixels()(x), x.flatten(1))
    assert torch.equal(Pixels(restorer)(x), restorer(x).flatten(1))
    assert torch.equal(Guarded(restorer, Pixels())(x), restorer(x).clamp(0, 1).flatten(1))


def test_wrong_sizes_are_told():
    with pytest.raises(WorkbookError, match="M is one of"):
        Stage("MLP")
    with pytest.raises(WorkbookError, match="at least one stage"):
        Restorer(0)
    with pytest.raises(WorkbookError, match="do not tile"):
        Restorer(1, "LSTM")(torch.rand(1, 3, 10, 10))


def test_channel_attention_weighs_whole_channels():
    with seeded(0):
        block, x = ChannelAttentionBlock(4, nn.PReLU()), torch.rand(1, 4, 6, 6)
    found, given = block.body(x), block(x) - x
    ratio = given / found
    assert (ratio - ratio.mean((2, 3), keepdim=True)).abs().max() < 1e-3
