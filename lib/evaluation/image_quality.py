"""How much of a picture a transformation, a defence or an attack leaves: SSIM and PSNR, by torchmetrics."""

from torch import Tensor

from lib.errors import WorkbookError

WINDOW = 11  # pixels a side, of SSIM's Gaussian window


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (n,) of images x and y (n, C, H, W) in [0,1], at most 1 (Wang et al. 2004, section III-B).

    Gaussian window of 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03; the mean over the channels and the places of a whole
    window (torchmetrics' own mean takes in a mirrored border).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # only here: importing it takes 3 s

    _check(x, y)
    if min(x.shape[2:]) < WINDOW:
        raise WorkbookError(f"SSIM looks through windows of {WINDOW} pixels, more than {tuple(x.shape[2:])}: enlarge.")
    measured = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none", return_full_image=True)
    border = WINDOW // 2
    return measured[1][:, :, border:-border, border:-border].mean((1, 2, 3))


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (n,) in dB of images x and y (n, C, H, W) in [0,1]; infinite where they are equal."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # only here: importing it takes 3 s

    _check(x, y)
    return peak_signal_noise_ratio(x, y, data_range=1.0, reduction="none", dim=(1, 2, 3))


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.ndim != 4 or not x.is_floating_point() or not y.is_floating_point():
        raise WorkbookError(
            f"Two batches of float images (n, C, H, W) are compared, not {tuple(x.shape)} {x.dtype} and "
            f"{tuple(y.shape)} {y.dtype}: give the same shape."
        )
