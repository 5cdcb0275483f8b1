import pytest
import torch

from lib.attacks import (
    FGSM,
    L2,
    PGD,
    RANDOM,
    Intensity,
    Linf,
    Objective,
    ascend,
    cross_entropy,
    dodging,
    impersonation,
    in_batches,
    intensity_of,
    margin,
    nt_xent,
    scores,
    strongest,
    verification,
)
from lib.errors import WorkbookError
from tests.attacks.small import ROWS, SmallNet, pictures

BOX = Linf("8/255")


@pytest.fixture(scope="module")
def case():
    model, x = SmallNet(), pictures()
    return model, x, cross_entropy(model, model(x).argmax(1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ROWS)
def test_dodging_lowers_and_impersonation_raises_similarity(name):
    model, x, reference = SmallNet(outputs=16), pictures(), pictures(seed=2)
    budget = L2(1.0) if name == "PGD_L2" else BOX

    def cosine(images):
        return (model.embed(images) * model.embed(reference)).sum(1)

    lower = ascend(dodging(model, reference), x, budget, ROWS[name], generator=seeded())
    higher = ascend(impersonation(model, reference), x, budget, ROWS[name], generator=seeded())
    assert (cosine(lower) < cosine(x)).all()
    assert (cosine(higher) > cosine(x)).all()
    same = torch.arange(12) < 6
    mixed = ascend(verification(model, reference, same), x, budget, ROWS[name], generator=seeded())
    assert torch.equal(cosine(mixed) < cosine(x), same)


def test_a_linear_objective_is_solved_in_one_step():
    """sum(w x) is highest at the corner sign(w) of the box, and along w on the ball."""
    weight = torch.randn(1, 3, 12, 12, dtype=torch.float64, generator=seeded())
    x = 0.3 + 0.4 * pictures(4)

    def plane(images):
        return (images * weight).sum((1, 2, 3))

    torch.testing.assert_close(ascend(plane, x, Linf(0.1), FGSM), x + 0.1 * weight.sign())
    ball = ascend(plane, x, L2(0.5), FGSM.but(rule="l2"))
    torch.testing.assert_close(ball, x + 0.5 * weight / weight.norm())


def test_best_is_never_worse_than_last_nor_than_the_clean_image(case):
    _, x, objective = case
    for name in ("PGD", "NIFGSM", "DIFGSM", "EOTPGD"):
        last = ascend(objective, x, BOX, ROWS[name].but(step="6/255"), generator=seeded())
        best = ascend(objective, x, BOX, ROWS[name].but(step="6/255", keep="best"), generator=seeded())
        assert (objective(best) >= objective(last) - 1e-12).all()
        assert (objective(best) >= objective(x) - 1e-12).all()
    tiny = ascend(lambda images: -(images - x).abs().sum((1, 2, 3)), x, BOX, PGD.but(keep="best"))
    assert torch.equal(tiny, x)


def test_more_steps_never_hurt_the_best(case):
    _, x, objective = case
    found = [
        objective(ascend(objective, x, BOX, PGD.but(start="clean", keep="best", steps=steps))) for steps in (1, 5, 20)
    ]
    assert (found[0] <= found[1] + 1e-12).all()
    assert (found[1] <= found[2] + 1e-12).all()


@pytest.mark.parametrize("keep", ["last", "best"])
def test_restarts_are_never_worse(case, keep):
    _, x, objective = case
    one = ascend(objective, x, BOX, PGD.but(steps=2, keep=keep), generator=seeded())
    five = ascend(objective, x, BOX, PGD.but(steps=2, restarts=5, keep=keep), generator=seeded())
    assert (objective(five) >= objective(one) - 1e-12).all()
    assert (objective(five) > objective(one) + 1e-12).any()


def test_random_search_is_a_setting_and_weaker_than_pgd(case):
    _, x, objective = case
    random = ascend(objective, x, BOX, RANDOM.but(restarts=20), generator=seeded())
    assert (objective(random) >= objective(x)).all()
    assert objective(random).mean() < objective(ascend(objective, x, BOX, PGD)).mean()


def test_budget_and_steps_per_image(case):
    _, x, objective = case
    eps = torch.linspace(0, 0.1, 12)
    moved = (ascend(objective, x, Linf(eps), PGD.but(step="eps/4")) - x).abs().amax((1, 2, 3))
    assert (moved <= eps + 1e-9).all()
    torch.testing.assert_close(moved, eps.double(), atol=1e-6, rtol=0)
    steps = torch.arange(12)
    many = ascend(objective, x, Linf(1.0), FGSM.but(steps=steps, step=0.01))
    torch.testing.assert_close((many - x).abs().amax((1, 2, 3)).clamp(max=0.01), 0.01 * steps.double().clamp(max=1))
    single = ascend(objective.rows(slice(5, 6)), x[5:6], Linf(1.0), FGSM.but(steps=5, step=0.01))
    torch.testing.assert_close(many[5:6], single)


def test_intensity_budget_is_kept(case):
    _, x, objective = case
    for norm, rule in (("linf", "sign"), ("l2", "l2")):
        moved = ascend(objective, x, Intensity(0.04, norm=norm), PGD.but(step="eps/4", rule=rule))
        assert (intensity_of(x, moved) <= 0.04 + 1e-9).all()
        assert (intensity_of(x, moved) > 0.02).all()


def test_batches_equal_the_whole(case):
    _, x, objective = case
    budget, settings = Linf(torch.linspace(0.01, 0.1, 12)), ROWS["MIFGSM"].but(step="eps/4", steps=torch.arange(12))
    whole = ascend(objective, x, budget, settings)
    torch.testing.assert_close(in_batches(objective, x, budget, settings, batch=5), whole)


def test_strongest_takes_the_strongest_per_image(case):
    model, x, objective = case
    judge = margin(model, objective.references[0])
    candidates = [ascend(objective, x, BOX, PGD, generator=seeded(seed)) for seed in range(3)]
    worst = strongest(judge, x, *candidates)
    expected = torch.stack([judge(images) for images in (x, *candidates)]).amax(0)
    torch.testing.assert_close(judge(worst), expected)


def test_scores_of_many_images_are_those_of_each():
    model, x = SmallNet(), pictures(70)
    objective = margin(model.train(), torch.arange(70) % 6)
    torch.testing.assert_close(scores(objective, x), margin(model.eval(), torch.arange(70) % 6)(x).detach())


def test_one_forward_and_one_backward_a_step_and_no_weight_gradient(case):
    model, x, objective = case
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    with torch.no_grad():
        ascend(objective, x, BOX, PGD.but(steps=7))
    assert calls == [True] * 7
    calls.clear()
    ascend(objective, x, BOX, PGD.but(steps=7, eot=3, keep="best"))
    assert calls.count(True) == 21
    assert calls.count(False) == 6  # the clean image and the last iterate, three draws each
    hook.remove()
    assert all(weight.grad is None for weight in model.parameters())


def test_the_images_and_the_random_state_are_the_callers(case):
    _, x, objective = case
    before, state = x.clone(), torch.get_rng_state()
    first = ascend(objective, x, BOX, ROWS["DIFGSM"].but(start="uniform"), generator=seeded(5))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, ascend(objective, x, BOX, ROWS["DIFGSM"].but(start="uniform"), generator=seeded(5)))
    assert not first.requires_grad


def test_works_under_inference_mode_and_autocast(case):
    _, x, objective = case
    plain = ascend(objective, x, BOX, FGSM)
    with torch.inference_mode():
        torch.testing.assert_close(ascend(objective, x, BOX, FGSM), plain)
    model = SmallNet().float()
    labels = objective.references[0]
    low = ascend(cross_entropy(model, labels), x.float(), BOX, PGD.but(start="clean", amp=True))
    assert cross_entropy(model, labels)(low).mean() > cross_entropy(model, labels)(x.float()).mean() + 0.5


def test_zero_gradients_do_not_turn_into_nan(case):
    _, x, _ = case
    flat = ascend(lambda images: 0 * images.sum((1, 2, 3)), x, BOX, ROWS["MIFGSM"])
    assert torch.equal(flat, x)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (torch.rand(3, 12, 12), "stack and convert"),
        (torch.zeros(12, 3, 12, 12, dtype=torch.uint8), "stack and convert"),
        (torch.rand(12, 3, 12, 12) * 255, "scale them"),
        (torch.full((12, 3, 12, 12), torch.nan), "scale them"),
        (torch.rand(4, 3, 12, 12), "made for 12 images, but 4"),
        (torch.rand(0, 3, 12, 12), "empty"),
        ([1, 2], "list"),
    ],
)
def test_bad_images_are_told_in_a_sentence(case, images, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        ascend(case[2], images, BOX, PGD)


def test_bad_objectives_are_told_in_a_sentence(case):
    _, x, objective = case
    with pytest.raises(WorkbookError, match="one score per image"):
        ascend(lambda images: images.sum(), x, BOX, PGD)
    with pytest.raises(WorkbookError, match="does not depend"):
        ascend(lambda images: torch.zeros(len(images)), x, BOX, PGD)
    with pytest.raises(WorkbookError, match="not finite"):
        ascend(lambda images: (images - x).square().sum((1, 2, 3)).pow(0.25), x, BOX, FGSM)
    with pytest.raises(WorkbookError, match="wrap it"):
        in_batches(lambda images: images.sum((1, 2, 3)), x, BOX, PGD, batch=2)
    with pytest.raises(WorkbookError, match="keep="):
        ascend(nt_xent(case[0]), x, BOX, PGD.but(keep="best"))
    with pytest.raises(WorkbookError, match="couples"):
        in_batches(nt_xent(case[0]), x, BOX, PGD, batch=2)


def test_any_callable_with_its_own_references(case):
    """The total loss of two heads, as an adaptive attack needs it."""
    model, x, objective = case

    def heads(images):
        logits = model(images)
        return logits, 0.5 * logits

    def total(outputs, labels):
        return sum(torch.nn.functional.cross_entropy(head, labels, reduction="none") for head in outputs)

    both = Objective((model,), heads, total, (objective.references[0],))
    moved = in_batches(both, x, BOX, PGD, batch=5)
    assert (both(moved) > both(x)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_images_come_back_on_their_device():
    model = SmallNet().cuda()
    x = pictures()
    moved = ascend(cross_entropy(model, torch.zeros(12)), x, BOX, PGD, generator=seeded())
    assert moved.device == x.device
    assert next(model.parameters()).is_cuda


def test_channels_last_models_get_the_same_images_back(case):
    _, x, objective = case
    model = SmallNet().to(memory_format=torch.channels_last)
    quick = cross_entropy(model, objective.references[0])
    for budget, settings in ((BOX, PGD.but(keep="best")), (L2(0.5), ROWS["PGD_L2"])):
        plain = ascend(objective, x, budget, settings, generator=seeded())
        moved = ascend(quick, x, budget, settings, generator=seeded())
        torch.testing.assert_close(moved, plain, rtol=0, atol=1e-9)
        assert moved.is_contiguous()


def test_each_iterate_is_told_with_its_score(case):
    model, x, objective = case
    told = []

    def note(step, images, score):
        told.append((step, images.clone(), score))

    settings = PGD.but(steps=4, start="clean")
    moved = ascend(objective, x, BOX, settings, on_step=note)
    assert [step for step, _, _ in told] == [0, 1, 2, 3]
    assert torch.equal(told[0][1], x)
    for step, images, score in told:
        expected = x if step == 0 else ascend(objective, x, BOX, settings.but(steps=step))
        torch.testing.assert_close(images, expected)
        torch.testing.assert_close(score, objective(expected).detach())
    assert not torch.equal(moved, told[-1][1])


def test_an_attack_goes_on_from_images_that_are_given(case):
    model, x, objective = case
    settings = PGD.but(steps=5, start="clean")
    half = ascend(objective, x, BOX, settings.but(steps=2))
    rest = settings.but(steps=3, start=half)
    torch.testing.assert_close(ascend(objective, x, BOX, rest), ascend(objective, x, BOX, settings))
    torch.testing.assert_close(in_batches(objective, x, BOX, rest, batch=5), ascend(objective, x, BOX, settings))
    with pytest.raises(WorkbookError, match="one start per image"):
        ascend(objective, x, BOX, settings.but(start=half[:3]))
