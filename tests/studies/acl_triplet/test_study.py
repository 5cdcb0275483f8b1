"""What pages 07 and 08 share: the dealing of people, the two sets joined, and trainings that are kept."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.transforms.v2.functional import resize

from lib import cache
from lib.book.contents import PROFILES
from lib.book.run import start
from lib.data.procedural_faces.dataset import load_procedural
from lib.data.sets import ImageSet
from lib.defences.registry import named_system
from lib.errors import WorkbookError
from lib.models import embed_all
from lib.models.dual_norm import route
from lib.studies import pages
from lib.studies.acl_triplet import study as acl_page
from lib.studies.acl_triplet import training as acl
from lib.studies.acl_triplet.pretraining import some_labels
from lib.studies.acl_triplet.study import (
    SIZES,
    ACLTripletStudy,
    Faces,
    faces_for,
    likenesses,
    resize_uint8,
    strangers,
    with_mates,
)
from lib.studies.acl_triplet.training import Network
from lib.training import loop
from tests.training.patterns import patterned

SMOKE = SimpleNamespace(**{name: values["smoke"] for name, values in SIZES.items()})
LABELS = torch.tensor([7, 3, 7, 5, 3, 7, 9])
CALLS = []


class Average(nn.Module):
    """A recogniser for tests: the unit vector of the picture in gray, centred."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def embed(self, x):
        gray = x.mean(1).flatten(1) * self.scale
        return nn.functional.normalize(gray - gray.mean(1, keepdim=True), dim=1)


def stand_in(name, device):
    assert name == "mobilefacenet"
    return Average().to(device)


def textured(labels, seed):
    """Pictures (n, 3, 16, 16) of people who each have a random texture, all at right angles but for chance."""
    texture = torch.rand(int(labels.max()) + 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.randn(len(labels), 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return (255 * (texture[labels] + noise).clamp(0, 1)).byte()


def counted(images, *args):
    """In the place of a training: notes its arguments."""
    CALLS.append(args)
    return {"weights": {}, "history": {"loss": torch.zeros(1)}}


def made(labels, pixels, name="made", splits=None):
    """A set of the pictures `pixels` (n, 3, H, W) uint8."""
    classes = [str(k) for k in range(int(labels.max()) + 1)]
    names = [str(at) for at in range(len(labels))]
    return ImageSet(name, name, labels, classes, names, lambda at: pixels[at], name, splits=splits or {})


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for module in (cache, loop):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    CALLS.clear()


def page(profile="smoke", data="auto"):
    return start("01_subspace_noise", profile=profile, device="cpu", data=data)


def groups(faces):
    return [set(faces.labels[index].tolist()) for index in (faces.learn, faces.held_out, faces.test)]


def check(faces, side):
    """Parts hold every picture once, share nobody, and everyone in them has two pictures or more."""
    assert faces.images.shape == (len(faces.labels), 3, side, side)
    assert faces.images.dtype == torch.uint8
    every = torch.cat([faces.learn, faces.held_out, faces.test])
    assert every.sort().values.tolist() == list(range(len(faces.labels)))
    learn, held_out, test = groups(faces)
    assert len(learn | held_out | test) == len(learn) + len(held_out) + len(test)
    assert faces.labels.unique(return_counts=True)[1].min() >= 2


def test_only_people_of_two_pictures_have_mates():
    assert with_mates(LABELS).tolist() == [0, 1, 2, 4, 5]
    assert with_mates(torch.arange(4)).tolist() == []


@pytest.mark.parametrize("side", [20, 40])
def test_shrunk_is_torchvisions_resize_of_each_picture(side):
    faces = load_procedural(people=4, per_person=2, size=48)
    index = torch.tensor([5, 0, 3])
    found = resize_uint8(faces, index, side, chunk=2)
    assert found.shape == (3, 3, side, side)
    for row, at in zip(found, index, strict=True):
        wanted = resize(faces.images([at])[0], [side, side], antialias=True)
        assert (row - 255 * wanted).abs().max() <= 0.5 + 1e-3


def test_a_person_is_the_mean_direction_of_the_first_pictures():
    faces = made(LABELS, patterned(7, 1)[0])
    index, model = torch.tensor([6, 5, 2, 1, 0, 4]), Average()
    z = embed_all(model, faces.images())
    first = {3: [1, 4], 7: [5, 2], 9: [6]}  # of two pictures at most, in the order of `index`
    wanted = torch.stack([z[at].mean(0) / z[at].mean(0).norm() for at in first.values()])
    torch.testing.assert_close(likenesses(model, faces, index, most=2), wanted)
    every = likenesses(model, faces, index)
    torch.testing.assert_close(every[1], nn.functional.normalize(z[[0, 2, 5]].sum(0), dim=0))


def test_smoke_deals_the_embedded_faces(monkeypatch):
    run = page()
    monkeypatch.setattr(
        pages, "load", lambda name, where: {("lfw", "embedded"): load_procedural(20, 10, size=48)}[name, where]
    )
    faces = faces_for(run, SMOKE)
    check(faces, 32)
    assert run.ledger.header["data"] == ["embedded: procedural faces"]
    assert len(faces.test) >= SMOKE.test_images
    assert len(faces.held_out) >= SMOKE.held_images
    images, labels = faces.part(faces.test)
    assert torch.equal(images, faces.images[faces.test])
    assert torch.equal(labels, faces.labels[faces.test])


def test_people_of_one_picture_are_in_no_part(monkeypatch):
    labels = torch.arange(20).repeat(3)[:-7]  # nobody alone
    alone = torch.cat([torch.tensor([20, 21]), labels])
    everyone = made(alone, patterned(len(alone), 1)[0])
    monkeypatch.setattr(acl_page, "for_page", lambda run, name, **_: everyone)
    faces = faces_for(page(), SimpleNamespace(side=8, learn_people=99, test_images=9, held_images=7))
    check(faces, 8)
    assert set(faces.labels.tolist()) == set(range(20))
    assert torch.equal(faces.images, resize_uint8(everyone, 2 + torch.arange(len(labels)), 8))


def test_a_rehearsal_learns_from_a_few_people_and_reads_nobody_else(monkeypatch):
    everyone = made(torch.arange(20).repeat(3), patterned(20, 3)[0])
    monkeypatch.setattr(acl_page, "for_page", lambda run, name, **_: everyone)
    few, whole = (
        faces_for(page(), SimpleNamespace(side=8, learn_people=most, test_images=9, held_images=6)) for most in (4, 99)
    )
    check(few, 8)
    assert [len(few.test), len(few.held_out), len(few.learn), len(few.images)] == [9, 6, 12, 27]
    assert len(whole.images) == 60
    for part in ("test", "held_out"):
        assert torch.equal(few.images[getattr(few, part)], whole.images[getattr(whole, part)])


def test_every_profile_can_deal_a_set_without_a_partition():
    assert min(SIZES[name][profile] for name in ("test_images", "held_images") for profile in PROFILES) > 0


def test_celebas_partition_takes_the_place_of_the_dealing(monkeypatch):
    """The source tests on the validation people; our choices are made on the test people."""
    images, labels = patterned(6, 3)
    labels[0] = 6  # a person of one picture, among those to learn from
    people = {"train": [0, 1, 6], "val": [2, 3], "test": [4, 5]}
    splits = {name: torch.isin(labels, torch.tensor(some)).nonzero().flatten() for name, some in people.items()}
    monkeypatch.setattr(acl_page, "for_page", lambda run, name, **_: made(labels, images, splits=splits))
    faces = faces_for(page("laptop", data="celeba"), SimpleNamespace(side=8, learn_people=99))
    check(faces, 8)
    assert groups(faces) == [{0, 1}, {4, 5}, {2, 3}]


def test_celebas_part_joins_less_the_people_who_are_tested(monkeypatch):
    """Its people 0 and 1 are tested, 2 is held out, 3 is learnt from anyhow, 4 has one picture, 5 to 8 are new."""
    people = torch.arange(12).repeat_interleave(3)
    own = made(people, textured(people, seed=1), "own")
    monkeypatch.setattr(acl_page, "load_recogniser", stand_in)
    sizes = SimpleNamespace(side=8, learn_people=99, test_images=9, held_images=6)
    monkeypatch.setattr(acl_page, "for_page", lambda run, name, **_: own)
    alone = faces_for(page(), sizes)
    learn, held_out, test = (sorted(group) for group in groups(alone))
    sources = torch.tensor([*test[:2], held_out[0], learn[0], 12, 13, 14, 15, 16]).repeat_interleave(2)
    two = torch.arange(18) != 8  # one of the two pictures of person 4
    more = made((torch.arange(18) // 2)[two], textured(sources[two], seed=2), "more")
    sets = {"lfw": own, "celeba_sub": more}
    monkeypatch.setattr(acl_page, "load_or_reason", lambda run, name: (sets[name], ""))
    faces = faces_for(page("laptop"), sizes)
    check(faces, 8)
    assert torch.equal(faces.images[:36], alone.images)
    assert torch.equal(faces.test, alone.test)
    assert torch.equal(faces.held_out, alone.held_out)
    assert (faces.labels[36:] - 12).tolist() == [3, 3, 5, 5, 6, 6, 7, 7, 8, 8]  # behind the first set's 12 people
    kept = torch.tensor([6, 7, 9, 10, 11, 12, 13, 14, 15, 16])
    assert torch.equal(faces.images[36:], resize_uint8(more, kept, 8))
    assert set(faces.learn.tolist()) == set(alone.learn.tolist()) | set(range(36, 46))
    seen = torch.cat([alone.test, alone.held_out])
    assert strangers(more, own, seen, "cpu").tolist() == kept.tolist()


def trainings(run=None, people=10, **changes):
    images, labels = patterned(people, 3)
    every, none = torch.arange(len(labels)), torch.zeros(0, dtype=torch.long)
    scale = SimpleNamespace(**{**vars(SMOKE), "side": 16, **changes})
    return ACLTripletStudy(run or page(), scale, Faces(images, labels, every, none, none))


def test_an_epoch_is_a_picture_of_each_person():
    kept = trainings(batch=128)
    source = kept.recipe_for(50, seed=4, people=8156)
    assert (source.steps, source.batch, source.seed) == (3185, 128, 4)  # 50 * 8156 / 128 = 3185.9
    assert (source.warmup, source.check_every, source.clip, source.amp) == (159, 318, 1.0, False)
    few = kept.recipe_for(5, seed=0)
    assert (few.steps, few.batch, few.warmup, few.check_every) == (5, 10, 0, 1)  # all 10 people in each step
    assert trainings(batch=4).recipe_for(3, 0).steps == 7  # 30 pictures, 4 a step
    assert kept.recipe_for(1, 0, people=3, rate=0.5).rate == 0.5


def test_the_network_follows_the_scale():
    assert trainings(depth=50, width=3, stem="small").network(dual=False) == Network(16, 50, 3, "small", dual=False)


def test_a_training_is_done_once(monkeypatch):
    done, fit = [], acl.fit
    monkeypatch.setattr(acl, "fit", lambda *args, **settings: done.append(settings["label"]) or fit(*args, **settings))
    kept = trainings(pre_epochs=1, batch=10)
    first, again = kept.pretrained(), kept.pretrained()
    assert len(done) == 1
    assert all(torch.equal(first["weights"][name], again["weights"][name]) for name in first["weights"])
    kept.pretrained(seed=1)
    assert len(done) == 2
    longer = {**first, "history": {"loss": torch.zeros(9)}}  # how the start came about makes no other training
    one, two = kept.tuned(1, start=first), kept.tuned(1, start=longer)
    assert done[2:] == ["triplet fine-tuning"]
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])
    kept.tuned(1, adversarial=False)
    assert done[3:] == ["standard triplet training"]


def test_both_stages_know_the_same_people(monkeypatch):
    monkeypatch.setattr(acl_page, "pretrain", counted)
    monkeypatch.setattr(acl_page, "tune", counted)
    kept = trainings(batch=128)
    kept.pretrained(seed=2, share=0.3, variant="dual", dual=False)
    kept.tuned(4, seed=2, share=0.3)
    (first, labels, share, variant, *_), (known, second, start, adversarial, *_) = CALLS
    assert (first.network.dual, second.network.dual, variant, start, adversarial) == (False, True, "dual", None, True)
    assert torch.equal(some_labels(labels, share, first.recipe.seed), known)
    assert len(known[known >= 0].unique()) == 3
    assert (first.recipe.steps, first.recipe.batch, second.recipe.steps, second.recipe.batch) == (
        SMOKE.pre_epochs,
        10,
        4,
        3,
    )
    kept.tuned(4, seed=2)
    assert torch.equal(CALLS[2][0], labels)


def test_registered_recognisers_take_one_route(monkeypatch):
    kept = trainings(pre_epochs=1, full_epochs=1, tune_epochs=1, batch=10)
    for name, way in (("standard", "clean"), ("pre-training + AT", "adversarial")):
        system = named_system(f"ACL-triplet: {name}")
        assert system.kind == "recogniser"
        model = system.build(kept, 1)
        encoder = kept.encoder(kept.system(name, 1))
        x = kept.images[:4].float() / 255
        with route(encoder, way):
            torch.testing.assert_close(model.embed(x), encoder.embed(x))
    with pytest.raises(WorkbookError, match="no training 'best'"):
        kept.system("best")


def test_a_system_starts_from_its_first_stage(monkeypatch):
    monkeypatch.setattr(acl_page, "pretrain", counted)
    monkeypatch.setattr(acl_page, "tune", counted)
    kept = trainings()
    counts = {"standard": 1, "triplet AT": 2, "pre-training + AT": 2, "short AT from scratch": 1}
    for name, trained in counts.items():
        CALLS.clear()
        monkeypatch.setattr(cache, "kept", lambda function, *args, where: function(*args))
        kept.system(name)
        assert len(CALLS) == trained
