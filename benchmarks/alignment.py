"""`python -m benchmarks.alignment`: how well faces are found in raw photographs, against crops prepared elsewhere.

LFW's tenth fold (785 raw pictures, 600 pairs): the share of faces found, and the verification accuracy at the best
threshold beside that of the prepared crops and of one fixed crop for all; then London's 448x448 portraits.
"""

import sys
import time

import torch
from torch import Tensor

from lib.data import load
from lib.data.alignment import TEMPLATE, similarity
from lib.data.datasets.faces import LFW_POINTS
from lib.data.photos import points_of
from lib.data.readers.archives import open_store
from lib.data.readers.decode import ImageFiles, from_files, image_files
from lib.data.sets import ImageSet, Pairs
from lib.evaluation.verification import best_threshold
from lib.models import Recogniser, embed_all, load_recogniser
from lib.paths import data_root

SHARE, MARGIN = 0.99, 0.005  # of faces found; of accuracy below the prepared crops


def accuracy(scores: Tensor, same: Tensor) -> float:
    """The share of pairs that the best threshold judges rightly."""
    return ((scores > best_threshold(scores, same)) == same).float().mean().item()


def verified(model: Recogniser, images: ImageSet, names: list[str], pairs: Pairs) -> float:
    """The accuracy on `pairs` of positions in `names`, whose pictures `images` holds under the same last words."""
    place = {name.split("/")[-1]: at for at, name in enumerate(images.names)}
    sides = [[place[names[at].split("/")[-1]] for at in side.tolist()] for side in (pairs.first, pairs.second)]
    first, second = (embed_all(model, images.images(side)) for side in sides)
    return accuracy((first * second).sum(1), pairs.same)


def main() -> int:
    """Print the table; exit status 1 where a target is missed."""
    lfw = load("lfw", where="root")
    pairs, model = lfw.pairs["view2"].take(slice(5400, 6000)), load_recogniser("mobilefacenet")
    store = open_store(data_root() / "lfw_raw_fold10.zip")
    files = image_files(store)
    start = time.perf_counter()
    points = points_of(store, files, "centre", "")
    pace = (time.perf_counter() - start) / len(files)
    found = ~points[:, 0, 0].isnan()
    share = found.float().mean().item()
    print(
        f"LFW raw: {int(found.sum())} of {len(files)} faces found, {1000 * pace:.0f} ms a picture (target {SHARE:.0%})"
    )
    fixed = [similarity(LFW_POINTS, TEMPLATE)] * len(files)
    ours = [similarity(face, TEMPLATE) if here else fixed[0] for face, here in zip(points.numpy(), found, strict=True)]
    crops = {
        name: from_files("raw", ImageFiles(store, files, size=112, matrices=matrices), files)
        for name, matrices in (("aligned here", ours), ("one fixed crop", fixed))
    }
    rates = {name: verified(model, images, lfw.names, pairs) for name, images in crops.items()}
    rates["prepared crops"] = verified(model, lfw, lfw.names, pairs)
    for name, rate in rates.items():
        print(f"LFW, fold 10, {len(pairs)} pairs, {name}: {100 * rate:.2f} %")
    london = open_store(data_root() / "london_ccby.zip")
    portraits = image_files(london)
    seen = ~points_of(london, portraits, "largest", "")[:, 0, 0].isnan()
    print(f"London: {int(seen.sum())} of {len(portraits)} faces found")
    good = min(share, seen.float().mean().item()) >= SHARE
    good &= rates["aligned here"] >= rates["prepared crops"] - MARGIN
    print("pass" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
