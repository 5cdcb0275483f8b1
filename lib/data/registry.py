"""The table of named sets: the loader, the files looked for, the download, and where to ask."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from lib.data.datasets import action_units, expressions, faces, london, objects
from lib.data.datasets import licensed as layouts
from lib.data.readers.archives import open_store
from lib.data.sets import ImageSet

SMALL_DIGITS, LARGER_DIGITS = (("digits", {"size": size, "channels": 3}) for size in (32, 64))


@dataclass(frozen=True)
class Entry:
    """How one set is found. `files` are looked for in the data root, the first that is there is taken."""

    load: Callable[..., ImageSet]
    files: tuple[str, ...] = ()
    ask: str = ""  # how to get it, as the end of a sentence
    beside: tuple[str, ...] = ()  # files that complete the set where they lie beside it
    download: Callable[..., ImageSet] | None = None
    library: str = ""
    stand_in: tuple[str, dict] = field(default=("procedural", {}))  # what where='embedded' gives


def load_procedural(**options: object) -> ImageSet:
    """The procedural faces; their room is imported only when they are wanted."""
    from lib.data.procedural_faces.dataset import load_procedural as make

    return make(**options)


def _people(name: str, files: tuple[str, ...], ask: str) -> Entry:
    return Entry(partial(layouts.load_people, name=name), files, ask)


def _download_celeba(*, size: int | None = None) -> ImageSet:
    """CelebA as torchvision fetches it (1.4 GB), kept in the data root."""
    import torchvision

    root = objects.downloads()
    torchvision.datasets.CelebA(root, split="all", target_type="identity", download=True)
    return layouts.load_celeba(open_store(root / "celeba"), size=size, source="download: torchvision")


SETS = {
    "procedural": Entry(load_procedural),
    "digits": Entry(objects.load_digits),
    "lfw": Entry(
        faces.load_lfw,
        ("lfw112.zip", "lfw112", "lfw_funneled"),
        "scikit-learn downloads it (230 MB) with load('lfw', where='download')",
        ("lfw_pairs.txt",),
        faces.download_lfw,
        "scikit-learn",
    ),
    "cfp": Entry(faces.load_cfp, ("cfp112.zip", "cfp112"), "get CFP from http://www.cfpw.io and align it to 112x112"),
    "celeba_sub": Entry(
        faces.load_celeba_sub,
        ("celeba_sub112.zip", "celeba_sub112"),
        "this part is the book's own, so take the whole set 'celeba' instead",
    ),
    "att": Entry(
        faces.load_att,
        ("att_faces.zip", "att_faces", "orl_faces"),
        "get it from AT&T Laboratories Cambridge (cam-orl.co.uk/facedatabase.html), or take 'olivetti'",
    ),
    "olivetti": Entry(
        faces.load_olivetti,
        ("olivetti_py3.pkz",),
        "scikit-learn downloads it (4 MB) with load('olivetti', where='download')",
        (),
        faces.download_olivetti,
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
        "get it from Kaggle's 'Challenges in Representation Learning: Facial Expression Recognition'",
        ("ferplus.zip",),
    ),
    "cifar10": Entry(
        partial(objects.load_cifar, name="cifar10"),
        ("cifar-10-batches-py", "cifar10.zip", "cifar10"),
        "torchvision downloads it (170 MB) with load('cifar10', where='download')",
        (),
        partial(objects.download_cifar, name="cifar10"),
        "torchvision",
        SMALL_DIGITS,
    ),
    "cifar100": Entry(
        partial(objects.load_cifar, name="cifar100"),
        ("cifar-100-python", "cifar100.zip", "cifar100"),
        "torchvision downloads it (170 MB) with load('cifar100', where='download')",
        (),
        partial(objects.download_cifar, name="cifar100"),
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
        "get it from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, or with load('celeba', where='download')",
        (),
        _download_celeba,
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
