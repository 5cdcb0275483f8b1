"""MagNet: an autoencoder of clean faces reforms an image, and its error tells strange images (Meng and Chen 2017)."""

from torch import Tensor, nn

from lib.errors import WorkbookError

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class MagNet(nn.Module):
    """MagNet's autoencoder for CIFAR-10 (section 5), on gray faces: conv `width`, conv `width`, conv 1, all 3x3.

    It keeps the full size and has sigmoid activations throughout, which learn slowly: take "relu" for short trainings.
    The paper's width is 32. (Its MNIST autoencoder, three channels wide around an average pooling, is too narrow for
    faces.) `forward` is the reformer. Train it with
    `lib.training.purifiers.Denoising(images, sigma=...)`: the paper's sigma is 0.025 on CIFAR-10 and 0.1 on MNIST.
    """

    def __init__(self, width: int = 32, activation: str = "sigmoid"):
        super().__init__()
        if width < 1 or activation not in ACTIVATIONS:
            raise WorkbookError(f"MagNet takes a width of at least 1 and activation {' or '.join(ACTIVATIONS)}.")
        between = ACTIVATIONS[activation]
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            between(),
            nn.Conv2d(width, width, 3, padding=1),
            between(),
            nn.Conv2d(width, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The reformer: gray images (n, 1, H, W) in [0,1] to images of the same shape, in (0,1)."""
        return self.layers(x)


def reconstruction_error(model: nn.Module, x: Tensor, p: int = 1) -> Tensor:
    """The detector's score (n,): mean over pixels of |x - AE(x)|^p. The paper uses p = 1 and p = 2."""
    return (x - model(x)).abs().pow(p).mean((1, 2, 3))


def detector_threshold(errors: Tensor, fpr: float) -> float:
    """The smallest error of clean held-out faces (n,) that at most a share `fpr` of them exceed.

    An image is rejected when its error is above. The paper's false-positive rates are 0.001 on MNIST and 0.005 on
    CIFAR-10; n below 1/fpr gives the largest clean error.
    """
    if not 0 <= fpr < 1 or len(errors) == 0:
        raise WorkbookError(f"A threshold needs clean errors and a rate in [0,1), but {len(errors)} and {fpr} came.")
    allowed = int(fpr * len(errors) + 1e-9)  # 0.29 * 100 is 28.999...
    return errors.sort().values[len(errors) - 1 - allowed].item()
