import pickle

import numpy as np
import pytest
import torch

from lib.data.readers.archives import open_store
from lib.data.readers.decode import ImageFiles, from_files, image_files, natural, numbered
from lib.errors import WorkbookError
from tests.data.conftest import picture, write, write_zip


def test_natural_order_reads_numbers():
    assert sorted(["s10/1", "s2/11", "s2/9"], key=natural) == ["s2/9", "s2/11", "s10/1"]
    labels, classes = numbered(["s10", "s2", "s10"])
    assert (labels.tolist(), classes) == ([1, 0, 1], ["s2", "s10"])


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_reads_values_in_the_order_asked(tmp_path, mode, channels):
    store = open_store(write_zip(tmp_path / "z.zip", {f"{at}.png": picture(at) for at in range(50)}))
    files = image_files(store)
    for index in ([3, 1], range(50)):  # one by one, and with threads
        out = ImageFiles(store, files, mode).read(index)
        assert out.dtype == torch.uint8
        assert out.shape == (len(index), channels, 12, 12)
        assert out[:, 0, 0, 0].tolist() == list(index)


def test_gray_files_become_colour_and_sizes_follow(tmp_path):
    store = open_store(write(tmp_path, {"a.png": picture(9, (20, 10), "L"), "b.png": picture(9, (30, 50))}))
    assert ImageFiles(store, ["a.png", "b.png"], size=8).read([0, 1]).shape == (2, 3, 8, 8)
    with pytest.raises(WorkbookError, match="differ in size"):
        ImageFiles(store, ["a.png", "b.png"]).read([0, 1])


def test_matrices_warp_each_file(tmp_path):
    store = open_store(write(tmp_path, {"a.png": picture(200, (40, 40))}))
    away, home = np.array([[1, 0, 500.0], [0, 1, 0]]), np.array([[0.5, 0, 0], [0, 0.5, 0]])
    out = ImageFiles(store, ["a.png", "a.png"], "L", 20, [away, home]).read([0, 1])
    assert out[0].max() == 0
    assert out[1].min() > 195


def test_a_set_can_be_sent_to_another_process(tmp_path):
    store = open_store(write(tmp_path, {"a/1.png": picture(1), "b/1.png": picture(2)}))
    files = image_files(store)
    images = from_files("mini", ImageFiles(store, files), ["a", "b"])
    assert torch.equal(pickle.loads(pickle.dumps(images)).images(), images.images())
    assert images.source == f"data root: {tmp_path.name}"


def test_options_change_the_fingerprint(tmp_path):
    store = open_store(write(tmp_path, {"a/1.png": picture(1)}))
    made = [
        from_files("mini", ImageFiles(store, ["a/1.png"], size=size), ["a"], salt=salt)
        for size, salt in ((8, ""), (9, ""), (8, "x"))
    ]
    assert len({each.fingerprint for each in made}) == 3
