"""Anybody's recogniser as one of the book's: a torch module, an ONNX file, or a model that should see gray images."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import Recogniser


class WrappedRecogniser(Recogniser):
    """Any torch module that maps normalised images (n, C, H, W) to embeddings (n, d)."""

    def __init__(
        self,
        module: nn.Module,
        name: str,
        size: tuple[int, int],
        mean: float | list,
        std: float | list,
        channels: int = 3,
    ):
        super().__init__(name, size, mean, std, channels)
        self.module = module
        if not any(True for _ in self.parameters()):  # `embed_all` and attack libraries ask a parameter for the device
            self.register_parameter("anchor", nn.Parameter(torch.zeros(()), requires_grad=False))

    def features(self, x: Tensor) -> Tensor:
        """(n, C, H, W) normalised to (n, d)."""
        out = self.module(x)
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(x):
            came = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise WorkbookError(f"{self.name} must return embeddings of shape ({len(x)}, d), but returned {came}.")
        return out


class GrayInput(Recogniser):
    """A colour recogniser that takes gray images (n, 1, H, W): the channel is repeated, as PIN feeds ArcFace."""

    def __init__(self, inner: Recogniser):
        super().__init__(f"{inner.name} (gray)", inner.size, 0.0, 1.0, channels=1)
        self.inner = inner
        self.train(inner.training)

    def features(self, x: Tensor) -> Tensor:
        """(n, 1, H, W) in [0,1] to (n, d)."""
        return self.inner(x.expand(-1, self.inner.channels, -1, -1))


def from_module(
    module: nn.Module,
    *,
    name: str = "your model",
    size: tuple[int, int] = (112, 112),
    mean: float | list = 0.5,
    std: float | list = 0.5,
    channels: int = 3,
) -> WrappedRecogniser:
    """Your torch module as a recogniser of the book. `mean`, `std`: its normalisation, in units of [0,1] pixels."""
    return WrappedRecogniser(module, name, size, mean, std, channels).eval().requires_grad_(False)


def from_onnx(
    path: str | Path,
    *,
    name: str | None = None,
    size: tuple[int, int] = (112, 112),
    mean: float | list = 0.5,
    std: float | list = 0.5,
) -> WrappedRecogniser:
    """An ONNX recogniser as a torch module, so that gradients flow through it.

    mean, std: its normalisation in units of [0,1] pixels; 0.5 and 0.5 is the (x - 127.5)/127.5 of most face models.
    """
    path = Path(path)
    if not path.exists():
        raise WorkbookError(f"There is no ONNX file {path}: give the path of a recogniser exported to ONNX.")
    import onnx
    from onnx2torch import convert

    try:
        module = convert(onnx.load(str(path)))
    except Exception as error:  # the parser and the converter raise many types; the reader needs one sentence
        raise WorkbookError(
            f"{path.name} could not be read as an ONNX recogniser ({type(error).__name__}: {error})."
        ) from None
    return from_module(module, name=name or path.stem, size=size, mean=mean, std=std)
