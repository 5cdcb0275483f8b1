import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn

from lib.data.sets import Pairs
from lib.errors import WorkbookError
from lib.evaluation import wilson
from lib.seeds import seeded
from lib.studies.dar_sfrl import threats_page as threats
from lib.studies.dar_sfrl.attacks import SEVEN
from lib.studies.dar_sfrl.evaluation import PairRecipe, Probe, ProbeRecipe, UnitRecipe, probe_from, unit_f1
from lib.studies.dar_sfrl.networks import Pixels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def faces(n=6, side=8):
    return 0.2 + 0.6 * torch.rand(n, 3, side, side, generator=generator(1))


def probe(classes=4, seed=2):
    with seeded(seed):
        weight = torch.randn(classes, 192) / 8
    return Probe(Pixels(), torch.full((192,), 0.5), torch.ones(192), weight, torch.zeros(classes)).eval()


def test_only_images_that_are_right_are_attacked_end_to_end_and_all_elsewhere():
    x = faces()
    labels = probe()(x).argmax(1)
    labels[:2] = (labels[:2] + 1) % 4
    moved = threats.attacked_images(probe(), "end to end", x, labels, ("BIM",))["BIM"]
    assert torch.equal(moved[:2], x[:2])
    assert (moved[2:] != x[2:]).flatten(1).any(1).all()
    assert (moved - x).abs().max() <= 8 / 255 + 1e-6
    released = threats.attacked_images(probe(), "released", x, labels, ("BIM",))["BIM"]
    assert (released != x).flatten(1).any(1).all()


def test_two_names_of_one_attack_are_climbed_once_and_agree():
    x = faces()
    found = threats.transferred(probe(), x, torch.zeros(6).long(), ("UPGD", "MIFGSM", "BIM"))
    assert SEVEN["UPGD"] == SEVEN["MIFGSM"]
    assert torch.equal(found["UPGD"], found["MIFGSM"])
    assert not torch.equal(found["UPGD"], found["BIM"])


def test_answers_tell_predictions_chances_and_perturbations():
    x, model = faces(), probe()
    labels = model(x).argmax(1)
    found = threats.answers(model, "end to end", x, labels, ("PGD", "BIM"))
    assert torch.equal(found["clean"], labels)
    assert found["predictions"].shape == found["chances"].shape == found["cosine"].shape == (2, 6)
    assert (found["chances"] < found["clean chances"]).all()
    alive = threats.survivors(found, labels)
    assert torch.equal(alive, (found["predictions"] == labels).all(0))
    ready = threats.transferred(probe(seed=3), x, labels, ("PGD",))
    by_transfer = threats.answers(model, "transfer", x, labels, ("PGD",), ready=ready)
    assert torch.equal(by_transfer["predictions"][0], model(ready["PGD"]).argmax(1))
    with pytest.raises(WorkbookError, match="belong to the threat model"):
        threats.answers(model, "released", x, labels, ready=ready)


def test_rates_of_several_trainings():
    found = {"clean": torch.tensor([[0, 1, 1], [0, 1, 2]])}
    found["predictions"] = torch.tensor([[[0, 0, 1], [0, 1, 0]], [[0, 1, 1], [1, 1, 1]]])
    labels, names = torch.tensor([0, 1, 1]), ("PGD", "BIM")
    assert threats.right_under(found, labels, "clean", names).tolist() == [[True, True, True], [True, True, False]]
    assert threats.right_under(found, labels, "BIM", names).tolist() == [[True, True, False], [False, True, True]]
    assert threats.right_under(found, labels, "worst", names).tolist() == [[True, False, False], [False, True, False]]


def test_gaps_are_paired_and_one_training_stands_beside_each_of_several():
    right = torch.tensor([[True, False] * 50, [True, True] * 50])
    assert threats.gap_of(right, right[:1]).estimate == pytest.approx(25)
    same = threats.gap_of(right, right)
    most = wilson(0, 100).scaled(100).high
    assert (same.low, same.estimate, same.high) == (-most, 0, most)  # no image differs, of a hundred
    change = threats.change_of_gaps(right[1:], right[:1], right[:1], right[:1])
    assert change.estimate == pytest.approx(50)
    assert change.low < 50 < change.high
    saved = threats.share_saved(right[1:], right[:1], right[1:], right[1:])
    assert saved.estimate == pytest.approx(100)
    assert threats.share_saved(right, right, right, right) is None
    rarely = torch.ones(1, 100, dtype=torch.bool)
    rarely[0, 0] = False  # a drop of one point in a hundred images: its interval reaches to zero
    assert threats.share_saved(~rarely | True, rarely, right, right) is None


def test_more_steps_leave_no_more_and_autoattack_only_looks_at_survivors():
    x, model = faces(), probe()
    labels = model(x).argmax(1)
    labels[0] = (labels[0] + 1) % 4
    curve = threats.steps_curve(model, x, labels, (1, 5), (10, 2))
    assert curve.shape == (3, 6)
    assert not curve[:, 0].any()
    assert curve.sum(1).tolist() == sorted(curve.sum(1).tolist(), reverse=True)
    alive = torch.tensor([False, True, True, False, False, False])
    left = threats.after_autoattack(model, x, labels, alive, 5, 10)
    assert not (left & ~alive).any()
    assert not threats.after_autoattack(model, x, labels, torch.zeros(6).bool(), 5, 10).any()


def test_the_grid_of_strengths_is_the_clean_answer_at_zero():
    x, model, labels = faces(), probe(), torch.tensor([0, 0, 1, 1, 2, 2])
    grid = threats.strength_grid(model, probe(seed=3), x, labels, (0, 8), ("released", "transfer", "end to end"))
    assert grid.shape == (3, 2, 4, 4)
    clean = model(x).softmax(1)
    assert torch.allclose(grid[2, 0, 1], clean[2:4].mean(0), atol=1e-6)
    assert torch.equal(grid[0, 0], grid[2, 0])
    assert not grid[:, :, 3].any()
    assert torch.allclose(grid[:, :, :3].sum(3), torch.ones(3, 2, 3), atol=1e-5)


def test_logistic_regression_converges_and_chooses_its_penalty_on_held_out_features():
    x = torch.randn(300, 5, generator=generator())
    labels = (x[:, 0] > 0).long()
    found = threats.fit_logistic(x[:200], labels[:200], (x[200:], labels[200:]), (100.0, 0.001))
    assert float(found["decay"]) == pytest.approx(0.001)
    assert found["held accuracy"][1] > 0.95
    fitted = probe_from(nn.Identity(), found)
    assert (fitted(x[200:]).argmax(1) == labels[200:]).float().mean() > 0.95
    images = (faces(20) * 255).byte()
    fits = {"one": {"mean": torch.zeros(192), "std": torch.ones(192)}}
    fits["one"] |= {"held weight": probe().weight.data, "held bias": torch.zeros(4)}
    right = threats.read_rightly(Pixels(), images, torch.zeros(20).long(), fits, {"one": "held"})["one"]
    assert torch.equal(right, (images.flatten(1).float() / 255 @ probe().weight.T).argmax(1) == 0)


def made_pairs():
    index = torch.arange(20)
    return Pairs(index, (index + 1) % 20, index % 2 == 0, index // 4)


def test_pairs_are_learnt_on_other_folds_than_tested():
    images = torch.arange(20).view(20, 1, 1, 1).expand(20, 3, 8, 8).byte()
    parts = threats.split_pairs(made_pairs(), torch.arange(20), images, 100, 100)
    assert len(parts["learn"].same) == 12
    assert len(parts["held"].same) == len(parts["test"].same) == 4
    assert (parts["held"].first[:, 0, 0, 0] * 255).round().tolist() == [12, 13, 14, 15]
    assert (parts["test"].first[:, 0, 0, 0] * 255).round().tolist() == [16, 17, 18, 19]
    assert torch.allclose(parts["learn"].second[3], torch.full((3, 8, 8), 4 / 255))


def test_a_head_is_rebuilt_as_fitted_and_attacked_by_transfer_and_end_to_end():
    first, same = faces(12), torch.arange(12) % 2 == 0
    second = torch.where(same[:, None, None, None], first, faces(12).flip(0))
    pairs = threats.FacePairs(first, second, same)
    fitted = threats.fitted_head(Pixels(), pairs, pairs, PairRecipe(epochs=2, batch=6, dim=5))
    head = threats.head_from(Pixels(), 8, fitted)
    surrogate = threats.head_from(Pixels(), 8, threats.fitted_head(Pixels(), pairs, pairs, PairRecipe(epochs=1, dim=4)))
    ready = threats.attacked_pairs(surrogate, pairs, ("BIM",))
    limit = float(fitted["threshold"])
    aimed = threats.pair_answers(head, limit, pairs, ("BIM",))
    transferred = threats.pair_answers(head, limit, pairs, ("BIM",), ready)
    assert torch.equal(aimed["clean"], transferred["clean"])
    assert aimed["right"].sum() <= transferred["right"].sum()
    assert aimed["right"].shape == (1, 12)


def test_choosing_on_the_reported_half_is_told_from_choosing_on_the_other():
    draw = generator(5)
    images = {name: (255 * torch.rand(40, 3, 4, 4, generator=draw)).byte() for name in ("learn", "test")}
    labels = {name: torch.randint(2, (40,), generator=draw) for name in images}  # noise: nothing can be learnt
    found = threats.chosen_on_halves(Pixels(), images, labels, ProbeRecipe(epochs=20, batch=10))
    assert found["same"].double().mean() > found["other"].double().mean()
    assert found["same"].shape == found["other"].shape == (40,)


def test_stronger_budgets_leave_no_more_and_a_flat_one_nothing_changed():
    x, model = faces(), probe()
    labels = model(x).argmax(1)
    curve = threats.strengths_curve(model, x, labels, ("0.1/255", "8/255", "64/255"))
    assert curve.shape == (3, len(x))
    assert curve[0].sum() >= curve[1].sum() >= curve[2].sum()


def test_units_are_attacked_through_the_probe_and_f1_is_that_of_scikit_learn():
    x = faces(12)
    present = torch.rand(12, 3, generator=generator(4)) < 0.5
    fitted = threats.fitted_units(Pixels(), x, present, UnitRecipe(epochs=40))
    model = threats.unit_probe_from(Pixels(), fitted)
    found = threats.unit_answers(model, model, x, present, ("BIM",))
    under, plain = (threats.mean_f1(seen, present) for seen in (found["seen"][0], found["clean"]))
    assert under < plain
    logits = threats.outputs_of(model, x)
    assert float(plain) == pytest.approx(100 * float(unit_f1(logits, present).mean()))
    people = torch.arange(12) // 3
    drop = threats.f1_interval([(1, found["clean"][None]), (-1, found["seen"])], present, people)
    assert drop.estimate == pytest.approx(float(plain - under))
    assert drop.low <= drop.estimate <= drop.high


def test_confusions_are_drawn_with_their_counts():
    figure, axes = plt.subplots(1, 2)
    table = torch.tensor([[5, 1], [0, 7]])
    threats.draw_confusions(axes, {"one": table, "other": table.T}, ["a", "b"])
    assert [text.get_text() for text in axes[1].texts] == ["5", "0", "1", "7"]
    assert axes[0].get_title(loc="left") + axes[0].get_title() == "one"
    plt.close(figure)


def test_a_purifier_is_swept_and_attacked_three_ways():
    from lib.studies.dar_sfrl.purification import Diffusion

    network = Diffusion(8, (8, 8)).network(0).eval().requires_grad_(False)
    x, labels = faces(3), torch.zeros(3).long()
    plan = threats.PurifierAttack(1, 1, 2, 2)
    given = {"clean": x, "transfer": x}
    found = threats.purified_draws(network, probe(), 10, given, labels, plan)
    assert list(found) == ["clean", "transfer", "BPDA", "exact"]
    assert all(right.shape == (2, 3) for right in found.values())
    assert torch.equal(found["clean"], found["transfer"])
    swept = threats.sweep_purifier(network, probe(), given, labels, (2, 10), plan)
    assert swept["clean"].shape == (2,)
    assert torch.equal(swept["clean"], swept["transfer"])
