"""Attacks on pairs in expectation: the averaged anchor, and what follows from a seed."""

import torch

from lib.attacks import EOTPGD, FGSM, Linf, Threat, ascend, ascend_pairs, expected_verification, verification
from lib.data.examples import ImagePairs
from tests.attacks.small import SmallNet, pictures

PAIRS = ImagePairs(pictures(), pictures(seed=2), torch.arange(12) < 6)


def test_anchors_are_averaged_over_draws():
    torch.manual_seed(0)
    steady = expected_verification(SmallNet(), PAIRS).references[0]
    noisy = SmallNet(noise=0.1)
    far, near = ((expected_verification(noisy, PAIRS, draws).references[0] - steady).norm() for draws in (1, 64))
    assert near < 0.6 * far


def test_a_fixed_model_is_attacked_as_by_the_loop():
    expected = ascend(verification(SmallNet(), PAIRS.y, PAIRS.same), PAIRS.x, Linf("8/255"), FGSM)
    torch.testing.assert_close(ascend_pairs(SmallNet(), PAIRS, Threat(FGSM, Linf("8/255"))), expected)


def test_what_a_random_model_draws_follows_from_the_seed():
    threat = Threat(EOTPGD.but(steps=2), Linf("8/255"))
    one, two, other = (ascend_pairs(SmallNet(noise=0.1), PAIRS, threat, seed) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
