import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from lib.errors import WorkbookError
from lib.studies.dar_sfrl.losses import (
    LossWeights,
    consistency,
    difference,
    mean_square_cosine,
    mirrored_nt_xent,
    mixed_nt_xent,
    mixing,
    negatives_of,
    noise_contrast,
    nt_xent,
)


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator():
    return torch.Generator().manual_seed(1)


def expanded(both, mixes, temperature):
    """The released way: every mix as a tensor (2n, 2n - 2, d)."""
    rows, dim = both.shape
    picture = torch.arange(rows) % (rows // 2)
    stack = both.expand(rows, rows, dim)[picture[None] != picture[:, None]].view(rows, rows - 2, dim)
    share = mixes.share[:, :, None].to(both.dtype)
    stack = F.normalize(stack * share + (1 - share) * stack[:, mixes.order], dim=2)
    unit = F.normalize(both, dim=1)
    q, k = unit.chunk(2)
    positive = torch.cat([(q * k).sum(1), (k * q).sum(1)])[:, None]
    logits = torch.cat([positive, torch.bmm(stack, unit[:, :, None]).squeeze(2)], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(rows, dtype=torch.long))


def test_interpolated_negatives_through_the_gram_matrix_are_the_expanded_ones():
    both = features(12, 5).requires_grad_()
    mixes = mixing(12, 10, generator())
    ours, theirs = mixed_nt_xent(both, mixes, 0.3), expanded(both, mixes, 0.3)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    (first,), (second,) = torch.autograd.grad(ours, both), torch.autograd.grad(theirs, both)
    assert torch.allclose(first, second, atol=1e-5)


def test_own_negatives_are_mixed_like_the_released_pose_branch():
    both, negatives = features(6, 4), features(3, 5, 4, seed=2)
    mixes = mixing(3, 5, generator())
    share = mixes.share[:, :, None].double()
    bank = F.normalize(negatives * share + (1 - share) * negatives[:, mixes.order], dim=2).repeat(2, 1, 1)
    unit = F.normalize(both, dim=1)
    positive = (unit[:3] * unit[3:]).sum(1).repeat(2)[:, None]
    logits = torch.cat([positive, torch.bmm(bank, unit[:, :, None]).squeeze(2)], dim=1) / 0.2
    theirs = F.cross_entropy(logits, torch.zeros(6, dtype=torch.long))
    assert mirrored_nt_xent(both, negatives, mixes, 0.2).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_unmixed_negatives_give_nt_xent():
    both, mixes = features(8, 3), mixing(8, 6, generator())
    plain = mixes._replace(share=torch.ones(8, 6))
    assert mixed_nt_xent(both, plain, 0.5).item() == pytest.approx(nt_xent(both, 0.5).item(), rel=1e-5)
    assert mixed_nt_xent(both, mixes, 0.5).item() != pytest.approx(nt_xent(both, 0.5).item(), rel=1e-3)


def test_shares_follow_the_beta_distribution():
    share = mixing(60, 50, generator()).share.flatten()
    assert stats.kstest(share.numpy(), stats.beta(1.6, 1.6).cdf).pvalue > 0.01
    assert stats.kstest(share.numpy(), stats.beta(1, 1).cdf).pvalue < 0.01
    with pytest.raises(WorkbookError, match=r"above 0\.5"):
        mixing(2, 2, generator(), beta=0.4)


def test_negatives_leave_out_a_row_and_its_partner():
    assert negatives_of(6).tolist()[0] == [1, 2, 4, 5]
    assert negatives_of(6).tolist()[4] == [0, 2, 3, 5]


def test_nt_xent_of_a_hand_computed_case():
    both = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    row = -math.log(math.exp(1) / (math.exp(1) + 2))
    assert nt_xent(both, 1.0).item() == pytest.approx(row, rel=1e-6)


def test_noise_contrast_pulls_the_same_degradation_together():
    kinds = torch.tensor([0, 0, 1, 1])
    alike = F.one_hot(kinds, 4).float().repeat(2, 1)
    mixed_up = F.one_hot(torch.tensor([0, 1, 0, 1]), 4).float().repeat(2, 1)
    assert noise_contrast(alike, kinds) < 0.1 + math.log(3)
    assert noise_contrast(mixed_up, kinds) > noise_contrast(alike, kinds) + 1


def test_consistency_adds_the_stages():
    clean = torch.zeros(1, 1, 2, 2)
    assert consistency([clean + 0.5, clean - 0.25], clean).item() == 0.75


def test_the_printed_norm_is_the_sum_over_an_image():
    clean = torch.zeros(2, 3, 4, 4)
    face = torch.stack([torch.full((3, 4, 4), 0.5), torch.zeros(3, 4, 4)])  # norms 24 and 0
    assert consistency([face], clean, error="norm").item() == 12


def test_mean_square_cosine_of_known_angles():
    f = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 2.0]])
    n = torch.tensor([[0.0, 3.0], [5.0, 0.0], [1.0, 0.0]])
    assert mean_square_cosine(f, n).item() == pytest.approx((0 + 1 + 0.5) / 3)


def test_difference_is_the_released_code():
    f, n = features(7, 4).requires_grad_(), features(7, 4, seed=3)
    first, second = f - f.mean(0, keepdim=True), n - n.mean(0, keepdim=True)
    first = first.div(torch.norm(first, p=2, dim=1, keepdim=True).detach().expand_as(first) + 1e-6)
    second = second.div(torch.norm(second, p=2, dim=1, keepdim=True).detach().expand_as(second) + 1e-6)
    theirs = torch.mean(first.t().mm(second).pow(2))
    assert torch.allclose(difference(f, n), theirs)
    assert torch.allclose(*(torch.autograd.grad(loss, f)[0] for loss in (difference(f, n), theirs)))


def test_the_loss_that_falls_more_slowly_weighs_more():
    weights = LossWeights(2, every=2)
    for losses in ([4.0, 4.0], [4.0, 4.0], [2.0, 3.0]):
        weights.note(torch.tensor(losses))
        assert weights.weights.tolist() == [1, 1]
    weights.note(torch.tensor([2.0, 5.0]))
    ratio = torch.tensor([2 / 4, 4 / 4])
    assert torch.allclose(weights.weights, 2 * (ratio / 2).exp() / (ratio / 2).exp().sum())
    assert weights.weights[1] > weights.weights[0]


def test_loss_weights_are_resumed_with_the_model():
    one, two = LossWeights(2, every=3), LossWeights(2, every=3)
    for losses in torch.rand(4, 2, generator=generator()):
        one.note(losses)
    two.load_state_dict(one.state_dict())
    for losses in torch.rand(4, 2, generator=generator()):
        one.note(losses)
        two.note(losses)
    assert torch.equal(one.weights, two.weights)
    assert not torch.equal(one.weights, torch.ones(2))


def test_losses_taken_in_turn_end_an_epoch_together():
    together, apart = LossWeights(2, every=2), LossWeights(2, every=2)
    for losses in torch.rand(6, 2, generator=generator()):
        together.note(losses)
        for turn in range(2):
            apart.note(torch.where(torch.arange(2) == turn, losses, torch.nan))
    assert torch.allclose(together.weights, apart.weights)
    assert not torch.equal(together.weights, torch.ones(2))
