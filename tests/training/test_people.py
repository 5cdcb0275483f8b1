import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.training.people import images_by_person, random_below, with_partners


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_an_album_by_hand():
    album = images_by_person(torch.tensor([7, 3, 7, 5, 7]))
    assert album.order.tolist() == [1, 3, 0, 2, 4]
    assert album.start.tolist() == [0, 1, 2]
    assert album.count.tolist() == [1, 1, 3]
    assert album.person.tolist() == [2, 0, 2, 1, 2]
    assert album.several.tolist() == [2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=20), st.integers(0, 1000))
def test_partners_are_other_pictures_of_the_same_person(labels, seed):
    labels = torch.tensor(labels)
    index = torch.randperm(len(labels), generator=generator(seed))
    found = with_partners(images_by_person(labels), index, generator(seed))
    half = len(index) // 2
    assert torch.equal(found[:half], index[:half])
    changed = found[half : 2 * half] != index[half : 2 * half]
    assert torch.equal(labels[found[half : 2 * half]][changed], labels[index[:half]][changed])
    assert (found[half : 2 * half] != index[:half]).all()
    assert torch.equal(found[2 * half :], index[2 * half :])


def test_most_rows_of_large_people_get_a_partner():
    labels = torch.arange(400) % 20
    index = torch.randperm(400, generator=generator())[:200]
    found = with_partners(images_by_person(labels), index, generator())
    assert (labels[found[:100]] == labels[found[100:]]).float().mean() > 0.9


def test_below_reaches_every_number_and_no_more():
    most = torch.tensor([1, 2, 5, 0]).repeat(2000)
    values = random_below(most, generator()).view(2000, 4)
    assert [values[:, i].unique().tolist() for i in range(4)] == [[0], [0, 1], [0, 1, 2, 3, 4], [0]]
