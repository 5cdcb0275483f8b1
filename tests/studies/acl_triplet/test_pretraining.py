import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.acl_triplet.pretraining import some_labels


def test_a_share_of_people_keeps_all_its_labels():
    labels = torch.arange(40) % 10 + 3
    kept = some_labels(labels, 0.3, seed=1)
    known = kept >= 0
    assert torch.equal(kept[known], labels[known])
    assert known.sum() == 12
    assert len(kept[known].unique()) == 3
    assert torch.equal(some_labels(labels, 1.0), labels)
    assert (some_labels(labels, 0.0) == -1).all()
    assert not torch.equal(kept, some_labels(labels, 0.3, seed=2))


def test_a_percentage_is_told():
    with pytest.raises(WorkbookError, match="give 10 % as 0.1"):
        some_labels(torch.arange(12), 10)
