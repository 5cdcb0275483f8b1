import torch

from lib.defences.image_seeded import image_seeded_uniform


def images(count=4, seed=0):
    return torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_uniform_and_unrelated():
    u = image_seeded_uniform(images(50), 2000, 0)
    assert u.shape == (50, 2000)
    assert u.min() >= 0
    assert u.max() < 1
    shares = torch.histc(u, 20, 0, 1) / u.numel()
    assert (shares - 0.05).abs().max() < 5 * (0.05 * 0.95 / u.numel()) ** 0.5
    between = torch.corrcoef(u)[~torch.eye(50, dtype=torch.bool)]
    along = torch.corrcoef(torch.stack([u[:, 1:].flatten(), u[:, :-1].flatten()]))[0, 1]
    assert between.abs().max() < 5 / 2000**0.5
    assert along.abs() < 5 / u.numel() ** 0.5


def test_an_image_keeps_its_numbers_in_any_batch():
    x = images()
    assert torch.equal(image_seeded_uniform(x, 30, 3)[2:], image_seeded_uniform(x[2:], 30, 3))


def test_one_gray_level_or_another_seed_changes_all():
    x = images(1)
    near = x.clone()
    near[0, 0, 5, 5] = (near[0, 0, 5, 5] + 1.01 / 255) % 1
    first = image_seeded_uniform(x, 500, 0)
    assert (first == image_seeded_uniform(near, 500, 0)).float().mean() < 0.01
    assert (first == image_seeded_uniform(x, 500, 1)).float().mean() < 0.01


def test_without_a_seed_each_call_is_fresh():
    x = images()
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(image_seeded_uniform(x, 30, None), image_seeded_uniform(x, 30, None))
