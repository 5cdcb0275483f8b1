import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.ancra.adversarial_training import ANCRATraining
from lib.studies.ancra.awp_sat import SAT
from lib.studies.ancra.classifiers import hard, soft
from lib.studies.ancra.study import FALLS
from lib.studies.ancra.training import Network, RobustError, train_classifier
from lib.training.loop import Recipe

IMAGES = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 3


@pytest.mark.parametrize(("family", "depth"), [("resnet", 18), ("preact", 18), ("wide", 10)])
def test_each_family_gives_logits_and_as_many_auxiliary_ones_as_it_has_gates(family, depth):
    model = Network(3, family, depth, 1 if family == "wide" else 4, "half", gates=1).classifier()
    found = model.eval().outputs(IMAGES[:2].float() / 255)
    assert found.logits.shape == (2, 3)
    assert [part.shape for part in found.auxiliary] == [(2, 3)]


def test_the_same_seed_gives_the_same_classifier_and_leaves_the_global_draws_alone():
    before = torch.get_rng_state()
    one, two, other = (Network(3, width=4).classifier(seed).fc.weight for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_the_rate_falls_where_the_source_lets_it_fall():
    recipe = Recipe(120, rate=0.01, schedule="falls", falls=FALLS)
    factors = [recipe.factor(step) for step in (0, 74, 75, 89, 90, 99, 100, 119)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_error_that_chooses_counts_images_which_survive_both_attacks():
    images, labels = IMAGES.float() / 255, LABELS
    for gates in (0, 2):
        model = Network(3, width=4, stem="half", gates=gates).classifier().eval()
        measure = RobustError(images, labels, steps=2)
        found = measure(model)
        with torch.no_grad():
            assert found["clean error"] == pytest.approx((model(images).argmax(1) != labels).double().mean().item())
        assert found["held_out"] >= max(found["clean error"], found["PGD error"] if not gates else 0)


def test_a_gated_model_is_also_judged_through_soft_gates(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "lib.studies.ancra.training.gated",
        lambda model, labels, gate: asked.append(gate) or (lambda x: x.sum((1, 2, 3))),
    )
    monkeypatch.setattr("lib.studies.ancra.training.in_batches", lambda goal, x, *rest, **more: x)
    RobustError(IMAGES.float() / 255, LABELS)(Network(3, width=4, gates=1).classifier().eval())
    assert len(asked) == 1
    logits, weight = torch.tensor([[3.0, 0.0]]), torch.eye(2)
    assert torch.allclose(asked[0](logits, weight), soft()(logits, weight))
    assert not torch.allclose(asked[0](logits, weight), hard(logits, weight))


def test_training_gives_weights_that_the_network_can_load_also_for_losses_with_buffers():
    recipe = Recipe(3, 8, 0.1, "sgd", check_every=2)
    for loss in (
        ANCRATraining(IMAGES, LABELS, zeta=3.0, steps=1),
        SAT(IMAGES, LABELS, steps=1, warmup=0),
    ):
        network = Network(3, width=4, stem="half", gates=0)
        found = train_classifier(loss, len(IMAGES), network, recipe, RobustError(IMAGES.float() / 255, LABELS, 1))
        model = network.loaded(found)
        assert len(found["history"]["held_out"]) == 2
        assert not model.training
        assert not any(weight.requires_grad for weight in model.parameters())


def test_bad_input():
    with pytest.raises(WorkbookError, match="not 'vgg'"):
        Network(10, "vgg")
