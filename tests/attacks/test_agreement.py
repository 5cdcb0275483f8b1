"""Our settings of the one loop against torchattacks 3.3, on the same model, seed and settings."""

import pytest
import torch
import torchattacks
from scipy.stats import ks_2samp

from lib.attacks import L2, Linf, PairLogits, ascend, cross_entropy, deepfool, dlr, kl, verification
from lib.attacks.deepfool import class_boundaries, pair_boundaries
from tests.attacks.small import ROWS, SmallNet, pictures

EPS = 8 / 255
THEIRS = {
    "FGSM": torchattacks.FGSM,
    "BIM": torchattacks.BIM,
    "I_FGSM": torchattacks.BIM,
    "PGD": torchattacks.PGD,
    "MIFGSM": torchattacks.MIFGSM,
    "NIFGSM": torchattacks.NIFGSM,
    "SINIFGSM": torchattacks.SINIFGSM,
    "DIFGSM": torchattacks.DIFGSM,
    "EOTPGD": torchattacks.EOTPGD,
    "UPGD": torchattacks.UPGD,
}


@pytest.fixture(scope="module")
def case():
    model, x = SmallNet(), pictures()
    return model, x, model(x).argmax(1)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", THEIRS)
def test_named_attack_equals_torchattacks(case, name):
    """Random starts and resizes included: both draw the same numbers in the same order."""
    model, x, labels = case
    torch.manual_seed(3)
    theirs = THEIRS[name](model)(x, labels)
    torch.manual_seed(3)
    ours = ascend(cross_entropy(model, labels), x, Linf("8/255"), ROWS[name])
    same(ours, theirs)
    assert (model(ours).argmax(1) != labels).any()


@pytest.mark.parametrize("name", ["PGD", "MIFGSM", "DIFGSM"])
def test_targeted_attack_equals_torchattacks(case, name, capsys):
    model, x, labels = case
    targets = (labels + 1) % 6
    attack = THEIRS[name](model)
    attack.set_mode_targeted_by_function(lambda images, labels: (labels + 1) % 6)
    torch.manual_seed(3)
    theirs = attack(x, labels)
    torch.manual_seed(3)
    same(ascend(cross_entropy(model, targets, targeted=True), x, Linf(EPS), ROWS[name]), theirs)


def test_pgd_l2_equals_torchattacks(case):
    model, x, labels = case
    torch.manual_seed(3)
    theirs = torchattacks.PGDL2(model)(x, labels)
    torch.manual_seed(3)
    same(ascend(cross_entropy(model, labels), x, L2(1.0), ROWS["PGD_L2"]), theirs)


def test_tpgd_equals_torchattacks(case):
    model, x, labels = case
    torch.manual_seed(3)
    theirs = torchattacks.TPGD(model)(x, labels)
    torch.manual_seed(3)
    same(ascend(kl(model, x), x, Linf(EPS), ROWS["TPGD"]), theirs)


def test_other_settings_equal_torchattacks(case):
    model, x, labels = case
    torch.manual_seed(3)
    theirs = torchattacks.DIFGSM(model, decay=0.7, resize_rate=0.6, diversity_prob=0.8, random_start=True)(x, labels)
    torch.manual_seed(3)
    settings = ROWS["DIFGSM"].but(decay=0.7, resize_rate=0.6, diversity=0.8, start="uniform")
    same(ascend(cross_entropy(model, labels), x, Linf(EPS), settings), theirs)


def test_upgd_with_dlr_equals_torchattacks(case):
    """With a budget that keeps the label among the first two: as the third, its ratio is constant."""
    model, x, labels = case
    theirs = torchattacks.UPGD(model, loss="dlr", eps=EPS / 16, alpha=EPS / 64)(x, labels)
    same(ascend(dlr(model, labels), x, Linf(EPS / 16), ROWS["UPGD"].but(step="eps/4")), theirs)


def test_upgd_is_mifgsm_by_default(case):
    model, x, labels = case
    same(torchattacks.UPGD(model)(x, labels), torchattacks.MIFGSM(model)(x, labels))


@pytest.mark.parametrize("name", ["EOTPGD", "UPGD"])
def test_random_model_agrees_with_torchattacks(case, name):
    """A model that draws noise: equal with the same seed, the same distribution of losses with another."""
    model, (_, x, labels) = SmallNet(noise=0.1), case
    kind = {"eot_iter": 3, "steps": 3}
    settings = ROWS[name].but(eot=3, steps=3)
    torch.manual_seed(3)
    theirs = THEIRS[name](model, **kind)(x, labels)
    torch.manual_seed(3)
    same(ascend(cross_entropy(model, labels), x, Linf(EPS), settings), theirs)
    quiet = SmallNet()

    def losses(images):
        return torch.nn.functional.cross_entropy(quiet(images), labels).item()

    objective = cross_entropy(model, labels)
    ours = [losses(ascend(objective, x, Linf(EPS), settings)) for _ in range(15)]
    theirs = [losses(THEIRS[name](model, **kind)(x, labels)) for _ in range(15)]
    assert ks_2samp(ours, theirs).pvalue > 0.01


@pytest.mark.parametrize("name", THEIRS)
def test_pairs_equal_torchattacks_through_the_adapter(name):
    model, x, reference = SmallNet(outputs=16), pictures(), pictures(seed=2)
    same_person = torch.arange(12) % 2 == 0
    torch.manual_seed(3)
    # one scale, so that momentum attacks, which weigh the steps by the loss's slope, see our plain cosine
    adapter = PairLogits(model, x, reference, scale=1e-5)
    theirs = THEIRS[name](adapter)(x, same_person.long())
    torch.manual_seed(3)
    ours = ascend(verification(model, reference, same_person), x, Linf(EPS), ROWS[name])
    assert ((ours - theirs).abs() < 1e-9).double().mean() > 0.999


def test_deepfool_equals_torchattacks(case):
    model, x, labels = case
    labels = labels.clone()
    labels[3] = (labels[3] + 1) % 6  # one image that is misclassified from the start
    theirs = torchattacks.DeepFool(model, steps=50)(x, labels)
    ours = deepfool(class_boundaries(model, labels), x, steps=50, batch=5)
    same(ours, theirs)
    assert torch.equal(ours[3], x[3])
    assert (model(ours).argmax(1) != labels).double().mean() > 0.8


def test_deepfool_on_pairs_equals_torchattacks():
    model, x, reference = SmallNet(outputs=16), pictures(), pictures(seed=2)
    cosine = (model.embed(x) * model.embed(reference)).sum(1)
    threshold = cosine.median().item()
    judged = cosine > threshold
    theirs = torchattacks.DeepFool(PairLogits(model, x, reference, threshold=threshold), steps=50)(x, judged.long())
    ours = deepfool(pair_boundaries(model, reference, judged, threshold), x, steps=50)
    same(ours, theirs)
    assert (((model.embed(ours) * model.embed(reference)).sum(1) > threshold) != judged).double().mean() > 0.8
