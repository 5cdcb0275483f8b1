"""PIN's systems by name (`lib.defences.registry`): no defence, the seven baselines, projections, PIN and its ablations.

systems = build_systems(Choice(baselines, level, reach, second), ["none", "PIN"])
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from lib.attacks.registry import KNOWLEDGE
from lib.defences.base import Defended
from lib.defences.pca import PCAProjection
from lib.defences.registry import System, named_system, register_system
from lib.errors import WorkbookError
from lib.models import GrayInput, Recogniser
from lib.studies.pin.attacks import attack_pairs
from lib.studies.pin.baselines import PIXELS, Baselines
from lib.studies.pin.evaluation import sum_of_errors
from lib.studies.pin.learnable_pca import HardThreshold

WITHOUT_GRADIENT = ("transfer", "black box")  # threats to what cannot be differentiated, as in the source
PLAIN = ("white box", *WITHOUT_GRADIENT)
BASELINES = ("Quilting", "TVM", "PixelDefend", "MagNet", "Adv. MTER", "HGD", "Xie et al.")  # as in Table IV
OFFLINE_ONLY = BASELINES[:3]
PROJECTIONS = ("PCA, few", "PCA, many")  # shown with their count, see `shown_name`


@dataclass(frozen=True, eq=False)
class Choice:
    """What the systems are built from: the trained networks, and the settings chosen on held-out pairs.

    level: of the hard threshold. reach: PixelDefend's, of 255. second: another recogniser (colour), for "LightCNN".
    """

    baselines: Baselines
    level: float
    reach: int = PIXELS[-1]
    second: Recogniser | None = None

    @property
    def gray(self) -> Recogniser:
        """The bare recogniser."""
        return self.baselines.gray

    @property
    def other(self) -> Recogniser:
        """The second bare recogniser."""
        if self.second is None:
            raise WorkbookError("This system stands on a second recogniser, but none was given: pass `second`.")
        return GrayInput(self.second)

    def behind(self, defence: nn.Module, recogniser: Recogniser | None = None) -> Recogniser:
        """A recogniser, by default the bare one, behind a defence."""
        return Defended(recogniser or self.gray, defence).to(self.baselines.run.device).eval()


def pca_counts(components: int) -> tuple[int, int]:
    """The source's 200 and 2000 eigenvectors, or the same shares of a smaller basis."""
    return (200, 2000) if components >= 2000 else (max(1, components * 2 // 25), components * 4 // 5)


def shown_name(name: str, components: int) -> str:
    """The name in tables: projections with their number of eigenvectors."""
    return f"PCA-{pca_counts(components)[PROJECTIONS.index(name)]}" if name in PROJECTIONS else name


def build_systems(choice: Choice, names: Iterable[str] | None = None) -> dict[str, Recogniser]:
    """The systems `names` (default: all of this study) by their name in Tables IV and XV, and ours."""
    components = len(choice.baselines.pin.material.basis)
    chosen = [named_system(name) for name in names or NAMES]
    return {shown_name(system.name, components): system.build(choice) for system in chosen}


def choose(baselines: Baselines, levels: Sequence[float], attack: str = "PGD-L2") -> tuple[float, int]:
    """The hard threshold's level and PixelDefend's reach: smallest sum of clean and attacked EER on held-out pairs."""
    run = baselines.run
    held_out = baselines.pin.held_pairs()
    basis = baselines.pin.material.basis
    attacked = run.kept(attack_pairs, attack, baselines.gray, held_out)
    cuts = {level: Defended(baselines.gray, HardThreshold(basis, level)).eval() for level in levels}
    pixels = {reach: baselines.pixels(reach) for reach in PIXELS}

    def best(systems: dict[float, Recogniser]) -> float:
        errors = {value: run.kept(sum_of_errors, system, held_out, attacked) for value, system in systems.items()}
        return min(errors, key=errors.get)

    return best(cuts), best(pixels)


def _projection(place: int) -> Callable[[Choice], Recogniser]:
    def build(choice: Choice) -> Recogniser:
        basis = choice.baselines.pin.material.basis
        return choice.behind(PCAProjection(basis, pca_counts(len(basis))[place]))

    return build


def _hard_threshold(choice: Choice) -> Recogniser:
    return choice.behind(HardThreshold(choice.baselines.pin.material.basis, choice.level))


def _pin(**changes: object) -> Callable[[Choice], Recogniser]:
    return lambda choice: choice.behind(choice.baselines.pin.defence(**changes))


def _system(name: str, says: str, build: Callable[[Choice], Recogniser]) -> System:
    return register_system(System(name, "recogniser", PLAIN, says, build))


def _opaque(name: str, says: str, build: Callable[[Choice], Recogniser]) -> System:
    """A system without a gradient."""
    return register_system(System(name, "recogniser", WITHOUT_GRADIENT, says, build))


def _drawn(name: str, says: str, build: Callable[[Choice], Recogniser]) -> System:
    """A system that draws."""
    return register_system(System(name, "recogniser", KNOWLEDGE, says, build, random=True))


_STUDY = (
    _system("none", "The bare recogniser.", lambda choice: choice.gray),
    _opaque("Quilting", "Patches of clean faces in place of the image's.", lambda c: c.baselines.quilting()),
    _opaque("TVM", "Total variation minimised from a few pixels.", lambda c: c.baselines.tvm()),
    _opaque("PixelDefend", "Pixels moved to where a density model has them.", lambda c: c.baselines.pixels(c.reach)),
    _system("MagNet", "A reforming autoencoder.", lambda c: c.baselines.magnet()),
    _system("Adv. MTER", "Adversarial training with margin-based triplets.", lambda c: c.baselines.robust("mter")),
    _system("HGD", "A denoiser guided by embeddings.", lambda c: c.baselines.guided()),
    _system("Xie et al.", "Adversarial training with denoised features.", lambda c: c.baselines.robust("xie")),
    _system(PROJECTIONS[0], "Projection on few eigenvectors (the source's 200).", _projection(0)),
    _system(PROJECTIONS[1], "Projection on many eigenvectors (the source's 2000).", _projection(1)),
    _system("DAE only", "PIN's denoising autoencoder alone.", lambda c: c.behind(c.baselines.pin.denoiser)),
    _drawn("PIN", "Learnable PCA: a mask of eigenvectors drawn for each image.", _pin()),
    _drawn("PIN without DAE", "PIN whose agent sees the image as it is.", _pin(denoised=False)),
    _system("hard threshold (ours)", "Coefficients above a level, for each image.", _hard_threshold),
    _drawn("PIN on coefficients (ours)", "PIN whose agent sees each coefficient alone.", _pin(kind="coefficients")),
    _system("none (LightCNN)", "The second recogniser, bare.", lambda choice: choice.other),
    _drawn("PIN-LightCNN", "PIN before the second recogniser.", lambda c: c.behind(c.baselines.pin.defence(), c.other)),
)  # fmt: skip
NAMES = tuple(system.name for system in _STUDY)
RANDOM_SYSTEMS = tuple(system.name for system in _STUDY if system.random)  # their masks are drawn
