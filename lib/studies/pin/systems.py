"""Who takes part in page 04: no defence, the seven rivals, projections on eigenvectors, PIN and its ablations."""

from collections.abc import Sequence

from lib.defences.base import Defended
from lib.defences.pca import PCAProjection
from lib.models import GrayInput, Recogniser
from lib.studies.pin.attacks import attack_pairs
from lib.studies.pin.baselines import PIXELS, Baselines
from lib.studies.pin.evaluation import sum_of_errors
from lib.studies.pin.learnable_pca import HardThreshold
from lib.studies.pin.study import PIN

RANDOM = ("PIN", "PIN without DAE", "PIN-LightCNN", "PIN on coefficients (ours)")  # their masks are drawn
BASELINES = ("Quilting", "TVM", "PixelDefend", "MagNet", "Adv. MTER", "HGD", "Xie et al.")  # as in Table IV


def choose(rivals: Baselines, levels: Sequence[float], attack: str = "PGD-L2") -> tuple[float, int]:
    """The hard threshold's level and PixelDefend's reach: smallest sum of clean and attacked EER on held-out pairs."""
    pin = rivals.pin
    run = rivals.run
    held = pin.held_pairs()
    basis = pin.material.basis
    hit = run.kept(attack_pairs, attack, rivals.gray, *held)
    cuts = {level: Defended(rivals.gray, HardThreshold(basis, level)).eval() for level in levels}
    pixels = {reach: rivals.pixels(reach) for reach in PIXELS}

    def best(systems: dict[float, Recogniser]) -> float:
        errors = {value: run.kept(sum_of_errors, system, held, hit) for value, system in systems.items()}
        return min(errors, key=errors.get)

    return best(cuts), best(pixels)


def line_up(pin: PIN, rivals: Baselines, second: Recogniser, level: float, reach: int) -> dict[str, Recogniser]:
    """Every system by its name in Tables IV and XV, and ours. second: another recogniser (colour)."""
    gray = rivals.gray
    other = GrayInput(second)
    basis = pin.material.basis
    few, many = pca_counts(len(basis))
    before = {
        f"PCA-{few}": PCAProjection(basis, few),
        f"PCA-{many}": PCAProjection(basis, many),
        "DAE only": pin.denoiser,
        "PIN": pin.defence(),
        "PIN without DAE": pin.defence(denoised=False),
        "hard threshold (ours)": HardThreshold(basis, level),
        "PIN on coefficients (ours)": pin.defence(kind="coefficients"),
    }
    systems = {"none": gray} | rivals.all(reach)
    systems |= {name: Defended(gray, defence).to(pin.run.device).eval() for name, defence in before.items()}
    systems["none (LightCNN)"] = other
    systems["PIN-LightCNN"] = Defended(other, pin.defence()).to(pin.run.device).eval()
    return systems


def pca_counts(components: int) -> tuple[int, int]:
    """The source's 200 and 2000 eigenvectors, or the same shares of a smaller basis."""
    return (200, 2000) if components >= 2000 else (max(1, components * 2 // 25), components * 4 // 5)
