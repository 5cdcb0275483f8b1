"""Recognisers: normalisation inside, pixels in [0,1] outside, `embed` gives unit vectors."""

from lib.models.base import Recogniser, batch_size, embed_all, evaluating, similarity
from lib.models.fuse import fold_batchnorm, quick
from lib.models.mobilefacenet import MobileFaceNet, MobileFaceNetPReLU
from lib.models.wrappers import GrayInput, from_module, from_onnx
from lib.models.zoo import RECOGNISERS, load_recogniser
from lib.transforms.colour import to_gray

__all__ = [
    "RECOGNISERS",
    "GrayInput",
    "MobileFaceNet",
    "MobileFaceNetPReLU",
    "Recogniser",
    "batch_size",
    "embed_all",
    "evaluating",
    "fold_batchnorm",
    "from_module",
    "from_onnx",
    "load_recogniser",
    "quick",
    "similarity",
    "to_gray",
]
