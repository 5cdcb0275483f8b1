import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.attacks import StickerTraining, paste, total_variation, train_sticker
from lib.attacks.sticker import HEIGHT, LEFT, TOP, WIDTH, WINDOW, _batches, _settled
from lib.errors import WorkbookError
from lib.models import GrayInput
from lib.models.small import SmallRecogniser

FACES = torch.rand(7, 1, 112, 112, generator=torch.Generator().manual_seed(0))
STICKER = torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def recogniser():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallRecogniser(dim=16, width=8)
    return GrayInput(model.eval())


@given(st.integers(-10, 10), st.integers(-20, 20))
@settings(max_examples=15, deadline=None)
def test_the_sticker_stays_in_its_rectangle(dy, dx):
    worn = paste(FACES, STICKER, (dy, dx))
    rows, columns = slice(TOP + dy, TOP + dy + HEIGHT), slice(LEFT + dx, LEFT + dx + WIDTH)
    assert torch.equal(worn[..., rows, columns], STICKER.expand(7, -1, -1, -1))
    worn[..., rows, columns] = FACES[..., rows, columns]
    assert torch.equal(worn, FACES)


def test_one_shift_and_one_sticker_per_face():
    colour, own = FACES.expand(-1, 3, -1, -1), torch.rand(7, 3, HEIGHT, WIDTH)
    dy, dx = torch.randint(-3, 4, (2, 7))
    expected = [paste(colour[i : i + 1], own[i : i + 1], (int(dy[i]), int(dx[i]))) for i in range(7)]
    assert torch.equal(paste(colour, own, (dy, dx)), torch.cat(expected))


def test_gradients_reach_the_sticker_alone():
    sticker = STICKER.clone().requires_grad_()
    weights = torch.rand_like(FACES)
    (gradient,) = torch.autograd.grad((weights * paste(FACES, sticker)).sum(), sticker)
    expected = weights[..., TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH].sum(0, keepdim=True)
    torch.testing.assert_close(gradient, expected)


def test_total_variation_pixel_by_pixel():
    sticker = torch.rand(1, 2, 4, 5)
    total = 0.0
    for c in range(2):
        for i in range(4):
            for j in range(5):
                down = sticker[0, c, i, j] - sticker[0, c, max(i - 1, 0), j]
                right = sticker[0, c, i, j] - sticker[0, c, i, max(j - 1, 0)]
                total += (down**2 + right**2 + 1e-5) ** 0.5
    torch.testing.assert_close(total_variation(sticker), total)


def test_the_first_step_by_hand():
    model, target = recogniser(), torch.nn.functional.normalize(torch.ones(16), dim=0)
    flat = torch.full_like(STICKER, 127 / 255).requires_grad_()
    loss = -(model.embed(paste(FACES, flat)) @ target).mean() + 1e-4 * total_variation(flat)
    (gradient,) = torch.autograd.grad(loss, flat)
    trained = train_sticker(model, FACES, target, StickerTraining(steps=1, batch=7, jitter=0, brightness=0.0))
    sure = gradient.abs() > 1e-3 * gradient.abs().max()  # faces come in another order, which rounds differently
    torch.testing.assert_close(trained[sure], (flat - gradient.sign() / 51)[sure].detach())


def test_training_raises_the_cosine_of_seen_and_unseen_faces():
    model = recogniser()
    target = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(3)), dim=0)
    others, unseen = FACES[:5], FACES[5:]
    flags = [weight.requires_grad for weight in model.parameters()]
    model.train()
    trained = train_sticker(model, others, target, StickerTraining(steps=40, batch=3))
    again = train_sticker(model, others, target, StickerTraining(steps=40, batch=3))
    assert all(module.training for module in model.modules())
    assert [weight.requires_grad for weight in model.parameters()] == flags
    assert torch.equal(trained, again)
    assert trained.shape == (1, 1, HEIGHT, WIDTH)
    assert trained.min() >= 0
    assert trained.max() <= 1
    assert not trained.requires_grad
    model.eval()
    plain = torch.full_like(trained, 127 / 255)
    for faces in (others, unseen):
        before, after = (model.embed(paste(faces, sticker)) @ target for sticker in (plain, trained))
        assert (after > before).all()


def test_batches_go_round_all_faces():
    rows = list(_batches(7, 3, 14, torch.Generator().manual_seed(0)))
    assert len(rows) == 14
    assert torch.bincount(torch.cat(rows)).tolist() == [6] * 7
    assert [len(part) for part in _batches(2, 20, 3, torch.Generator())] == [2, 2, 2]


def test_the_second_stage_waits_for_a_loss_that_no_longer_falls():
    falling = list(torch.linspace(1, 0, WINDOW + 1))
    assert not _settled(falling[:WINDOW])
    assert not _settled(falling)
    assert _settled(falling[::-1])
    assert _settled([torch.tensor(0.5)] * (WINDOW + 1))


def test_misuse_is_told():
    with pytest.raises(WorkbookError, match="leaves the faces"):
        paste(FACES, STICKER, (TOP + 81, 0))
    with pytest.raises(WorkbookError, match="channels"):
        paste(FACES.expand(-1, 3, -1, -1), STICKER)
    with pytest.raises(WorkbookError, match=r"\[0,1\]"):
        train_sticker(recogniser(), 255 * FACES, torch.ones(16))
