import pytest
import torch

from lib.data import load
from lib.data.datasets.expressions import EXPRESSIONS, VOTES
from lib.errors import WorkbookError
from tests.conftest import needs_data
from tests.data.conftest import picture, write, write_zip

FILES = {
    "fer2013/train/happy/Training_1.jpg": picture(30, (48, 48), "L"),
    "fer2013/train/angry/Training_1.jpg": picture(20, (48, 48), "L"),
    "fer2013/public_test/neutral/PublicTest_2.jpg": picture(40, (48, 48), "L"),
}


def ferplus(root, shared, official):
    head = ",".join(VOTES)
    files = {
        "ferplus_for_shared_fer2013.csv": "\n".join([f"file,ferplus_name,{head},n_identical", *shared]),
        "fer2013new.csv": "\n".join([f"Usage,Image name,{head}", *official]),
    }
    write_zip(root / "ferplus.zip", files)


def test_zip_with_votes(root):
    write_zip(root / "fer2013.zip", FILES)
    assert load("fer2013").attributes == {}
    ferplus(root, ["fer2013/train/happy/Training_1.jpg,fer1.png,1,2,3,4,5,6,7,8,9,10,1"], [])
    images = load("fer2013")
    assert images.classes == EXPRESSIONS
    by_name = dict(zip(images.names, images.labels.tolist(), strict=True))
    assert by_name["fer2013/train/happy/Training_1.jpg"] == EXPRESSIONS.index("happy")
    assert sorted((part, len(index)) for part, index in images.splits.items()) == [("public_test", 1), ("train", 2)]
    at = images.names.index("fer2013/train/happy/Training_1.jpg")
    votes = images.attributes["votes"]
    assert votes[at].tolist() == list(range(1, 11))
    assert (votes[[k for k in range(3) if k != at]] == -1).all()
    assert images.images().shape == (3, 1, 48, 48)


def test_folder(root):
    write(root, FILES)
    assert load("fer2013").source == "data root: fer2013"
    write(root, {"fer2013/train/bored/x.jpg": picture()})
    with pytest.raises(WorkbookError, match="holds bored"):
        load("fer2013")


def table(rows):
    return "emotion,pixels,Usage\n" + "\n".join(f"{e},{' '.join([str(v)] * 2304)},{u}" for e, v, u in rows)


@pytest.mark.parametrize("place", ["fer2013.csv", "fer2013/fer2013.csv"])
def test_kaggle_csv(root, place):
    ferplus(root, [], ["Training,fer0000001.png,0,1,2,3,4,5,6,7,8,9", "Training,,0,0,0,0,0,0,0,0,0,10"])
    write(root, {place: table([(3, 7, "Training"), (0, 8, "PrivateTest"), (6, 9, "PublicTest")])})
    images = load("fer2013")
    assert images.labels.tolist() == [3, 0, 6]
    assert {part: index.tolist() for part, index in images.splits.items()} == {
        "train": [0], "private_test": [1], "public_test": [2]}  # fmt: skip
    assert (images.images()[:, 0, 5, 5] * 255).round().tolist() == [7, 8, 9]
    assert images.attributes["votes"][:, 1].tolist() == [-1, 1, -1]
    assert load("fer2013", size=64).images([0]).shape == (1, 1, 64, 64)


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", table([(9, 1, "Training")]), table([(1, 1, "Elsewhere")]), table([]), ""]
)
def test_a_wrong_csv_is_one_sentence(root, text):
    write(root, {"fer2013.csv": text})
    with pytest.raises(WorkbookError, match="is not FER2013's table"):
        load("fer2013")


@needs_data("fer2013.zip", "ferplus.zip")
def test_real_fer2013():
    images = load("fer2013", where="root")
    assert {part: len(index) for part, index in images.splits.items()} == {
        "train": 28709, "public_test": 3589, "private_test": 3589}  # fmt: skip
    votes = images.attributes["votes"]
    assert votes.shape == (35887, 10)
    assert (votes[:, 0] >= 0).sum() == 35712
    known = votes[:, 0] >= 0
    plus = votes[known][:, :8].argmax(1)  # FER+ and Kaggle agree on what is happy, mostly
    happy = images.labels[known] == EXPRESSIONS.index("happy")
    assert (plus[happy] == VOTES.index("happiness")).float().mean() > 0.85
    assert torch.equal(torch.cat(list(images.splits.values())).sort().values, torch.arange(35887))
