"""Each family's step against lightly's loss or a loop, and each removed part really gone."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.losses.joint_embedding import sinkhorn
from lib.studies.robust_ssl.families import FAMILIES, METHODS, REMOVALS, family
from tests.studies.robust_ssl.small import CASES, SETTINGS, SIZES, pictures, prepared


def projections(model, first, second):
    return copy.deepcopy(model)(torch.cat([first, second])).chunk(2)


def lightly_losses():
    return pytest.importorskip("lightly.loss")


def test_simclr_is_lightlys_nt_xent():
    model, loss, first, second = prepared("SimCLR")
    wanted = lightly_losses().NTXentLoss(temperature=0.5)(*projections(model, first, second))
    assert loss.compare(model, first, second)["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_moco_by_rows():
    model, loss, first, second = prepared("MoCo")
    queries = [F.normalize(part, dim=1) for part in projections(model, first, second)]
    keys = [F.normalize(part, dim=1) for part in projections(loss.slow.model, first, second)]
    total = 0.0
    for query, key in ((queries[0], keys[1]), (queries[1], keys[0])):
        for row in range(8):
            own = math.exp((query[row] @ key[row]).item() / 0.2)
            others = [math.exp((query[row] @ old).item() / 0.2) for old in loss.queue.rows]
            total -= math.log(own / (own + sum(others))) / 16
    found = loss.compare(model, first, second)
    assert found["loss"].item() == pytest.approx(total, rel=1e-5)
    loss.update(model, {"keys": found["keys"]})
    assert torch.allclose(loss.queue.rows[:8], keys[0], atol=1e-6)


def test_swav_is_lightlys_with_a_small_crop():
    model, loss, first, second = prepared("SwAV")
    small = first[:, :, ::2, ::2]
    twin = copy.deepcopy(model)
    whole = list(twin.cosines(torch.cat([first, second])).chunk(2))
    wanted = lightly_losses().SwaVLoss(sinkhorn_epsilon=SETTINGS.codes)(whole, [twin.cosines(small)])
    found = loss.of_crops(model, [first, second], [small])["loss"]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_simsiam_is_lightlys():
    model, loss, first, second = prepared("SimSiam")
    one, other = projections(model, first, second)
    guesses = copy.deepcopy(model).predictor(torch.cat([one, other])).chunk(2)
    cosine = lightly_losses().NegativeCosineSimilarity()
    wanted = (cosine(guesses[0], other) + cosine(guesses[1], one)) / 2
    assert loss.compare(model, first, second)["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_byol_by_rows():
    model, loss, first, second = prepared("BYOL")
    guesses = copy.deepcopy(model).predictor(torch.cat(projections(model, first, second))).chunk(2)
    targets = projections(loss.slow.model, first, second)
    units = [F.normalize(part, dim=1) for part in (*guesses, *targets)]
    squares = [
        (units[0][r] - units[3][r]).square().sum() + (units[1][r] - units[2][r]).square().sum() for r in range(8)
    ]
    wanted = sum(squares) / 8 / 2
    assert loss.compare(model, first, second)["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_dino_is_lightlys_and_its_centre_too():
    model, loss, first, second = prepared("DINO")
    small = first[:, :, ::2, ::2]
    twin = copy.deepcopy(model)
    student = [*twin.cosines(torch.cat([first, second])).chunk(2), twin.cosines(small)]
    teacher = list(copy.deepcopy(loss.slow.model).cosines(torch.cat([first, second])).chunk(2))
    theirs = lightly_losses().DINOLoss(output_dim=5, teacher_temp=0.04)
    wanted = theirs([part.detach() for part in teacher], student)
    found = loss.of_crops(model, [first, second], [small])
    assert found["loss"].item() == pytest.approx(wanted.item(), rel=1e-4)
    loss.update(model, {"logits": found["logits"]})
    assert torch.allclose(loss.centre, theirs.center.flatten(), atol=1e-6)


@pytest.mark.parametrize(("method", "name"), [("Barlow Twins", "BarlowTwinsLoss"), ("VICReg", "VICRegLoss")])
def test_decorrelating_families_are_lightlys(method, name):
    model, loss, first, second = prepared(method)
    wanted = getattr(lightly_losses(), name)()(*projections(model, first, second))
    assert loss.compare(model, first, second)["loss"].item() == pytest.approx(wanted.item(), rel=1e-4)


def gradient(method, without, of):
    """The gradient of the loss along a weight of the network; None where it gets none."""
    model, loss, first, second = prepared(method, without)
    loss.compare(model, first, second)["loss"].backward()
    return dict(model.named_parameters())[of].grad


@pytest.mark.parametrize("method", ["SimCLR", "MoCo"])
def test_without_negatives_each_row_is_alone(method):
    model, loss, first, second = prepared(method, "negatives")
    model.eval()
    whole = loss.compare(model, first, second)["loss"]
    rows = [loss.compare(model.eval(), first[i : i + 1], second[i : i + 1])["loss"] for i in range(8)]
    if method == "SimCLR":
        assert whole.item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-5)
    loss_with = prepared(method)[1]
    assert loss_with.compare(model, first, second)["loss"] != whole
    if method == "MoCo":
        before = loss.compare(model, first, second)["loss"]
        loss.queue.rows.neg_()
        assert torch.equal(loss.compare(model, first, second)["loss"], before)


@pytest.mark.parametrize(("method", "part"), [("MoCo", "momentum encoder"), ("BYOL", "EMA"), ("DINO", "EMA")])
def test_without_a_slow_copy_the_copy_is_the_network(method, part):
    for without, same in ((part, True), (None, False)):
        model, loss, first, second = prepared(method, without)
        found = loss.compare(model, first, second)
        with torch.no_grad():
            model.encoder.trunk.stem[0].weight.add_(1.0)
        loss.update(model, {name: value.detach() for name, value in found.items() if value.ndim})
        slow = loss.slow.model.encoder.trunk.stem[0].weight
        assert torch.allclose(slow, model.encoder.trunk.stem[0].weight) == same


@pytest.mark.parametrize("method", ["SimSiam", "BYOL"])
def test_without_predictor_it_gets_no_gradient(method):
    name = "predictor.layers.0.weight"
    assert gradient(method, "predictor", name) is None
    assert gradient(method, None, name).abs().sum() > 0


def test_without_stop_gradient_both_sides_learn():
    stopped, free = (gradient("SimSiam", part, "encoder.trunk.stem.0.weight") for part in (None, "stop-gradient"))
    assert not torch.allclose(stopped, free)
    values = [prepared("SimSiam", part) for part in (None, "stop-gradient")]
    losses = [loss.compare(model, first, second)["loss"].item() for model, loss, first, second in values]
    assert losses[0] == pytest.approx(losses[1])


def test_without_centring_the_centre_stays_and_without_sharpening_the_teacher_is_soft():
    model, loss, first, second = prepared("DINO", "centring")
    found = loss.compare(model, first, second)
    loss.update(model, {"logits": found["logits"]})
    assert (loss.centre == 0).all()
    model, loss, first, second = prepared("DINO", "sharpening")
    teacher = loss.slow.model
    targets = [(part / 0.1).softmax(1) for part in copy.deepcopy(teacher).cosines(torch.cat([first, second])).chunk(2)]
    logs = [(part / 0.1).log_softmax(1) for part in copy.deepcopy(model).cosines(torch.cat([first, second])).chunk(2)]
    wanted = -((targets[0] * logs[1]).sum(1).mean() + (targets[1] * logs[0]).sum(1).mean()) / 2
    assert loss.compare(model, first, second)["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_without_sinkhorn_the_codes_are_softmaxes():
    model, loss, first, second = prepared("SwAV", "Sinkhorn")
    scores = copy.deepcopy(model).cosines(torch.cat([first, second])).chunk(2)
    logs = [(part / 0.1).log_softmax(1) for part in scores]
    for codes, same in (
        (((part / SETTINGS.codes).softmax(1) for part in scores), True),
        ((sinkhorn(part, SETTINGS.codes) for part in scores), False),
    ):
        one, other = codes
        wanted = -((one * logs[1]).sum(1).mean() + (other * logs[0]).sum(1).mean()) / 2
        assert (abs(loss.compare(model, first, second)["loss"] - wanted) < 1e-5).item() == same


def test_without_decorrelation_variance_and_covariance_the_term_is_gone():
    model, loss, first, second = prepared("Barlow Twins", "decorrelation")
    one, other = (F.normalize(part - part.mean(0), dim=0) for part in projections(model, first, second))
    wanted = (1 - (one * other).sum(0)).square().sum()
    assert loss.compare(model, first, second)["loss"].item() == pytest.approx(wanted.item(), rel=1e-2)
    for part in ("variance", "covariance"):
        model, loss, first, second = prepared("VICReg", part)
        kept = {"variance": {"mu_param": 0.0}, "covariance": {"nu_param": 0.0}}[part]
        wanted = lightly_losses().VICRegLoss(**kept)(*projections(model, first, second))
        assert loss.compare(model, first, second)["loss"].item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize(("method", "without"), CASES)
def test_every_case_gives_a_gradient_to_the_encoder(method, without):
    model, loss, _, _ = prepared(method, without)
    found = loss(model, torch.arange(8), torch.Generator().manual_seed(0))
    found["loss"].backward()
    assert model.encoder.trunk.stem[0].weight.grad.abs().sum() > 0
    assert torch.isfinite(found["loss"])


def test_the_first_encoder_is_the_same_in_every_family():
    first = [prepared(name)[0].encoder.state_dict() for name in METHODS]
    assert all(torch.equal(state[key], first[0][key]) for state in first for key in first[0])


def test_assignments_are_probabilities_at_the_losses_temperature():
    for name in ("SwAV", "DINO"):
        model = prepared(name)[0].eval()
        x = pictures(4).float() / 255
        found = family(name).assigned(model, x, SETTINGS)
        assert torch.allclose(found, (10 * model.cosines(x)).softmax(1), atol=1e-6)
        assert torch.allclose(found.sum(1), torch.ones(4), atol=1e-5)


def test_predictors_are_a_bottleneck_or_as_wide_as_the_projector():
    widths = {name: kind.predictor_width(SIZES) for name, kind in FAMILIES.items()}
    assert {name: width for name, width in widths.items() if width} == {"SimSiam": SIZES.dim // 4, "BYOL": SIZES.hidden}


def test_families_count_their_views():
    assert {prepared(name)[1].view_count for name in ("SwAV", "DINO")} == {2 + SETTINGS.small}
    assert prepared("SimCLR")[1].view_count == 2


def test_unknown_families_and_parts_are_told():
    with pytest.raises(WorkbookError, match="The families are"):
        family("VAE")
    with pytest.raises(WorkbookError, match="SimCLR has negatives to remove"):
        prepared("SimCLR", "predictor")
    assert ("DINO", "centring") in REMOVALS
