"""What page 09 measures: restoration by stage, what features tell of the noise, what an iteration costs."""

import time
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.attacks.objectives import Objective
from lib.attacks.settings import PGD
from lib.evaluation.two_way_bootstrap import over_seeds
from lib.interval import Interval
from lib.models.base import evaluating
from lib.seeds import seeded
from lib.studies.dar_sfrl.attacks import attack, objective_for
from lib.studies.dar_sfrl.degradations import KINDS, Degradations
from lib.studies.dar_sfrl.evaluation import linear_predictability, quality_by_stage
from lib.studies.dar_sfrl.losses import mixed_nt_xent, mixing, negatives_of
from lib.studies.dar_sfrl.networks import Pixels, Restorer
from lib.studies.dar_sfrl.study import SIZES, DARStudy
from lib.studies.dar_sfrl.training import Objective as Recipe
from lib.studies.dar_sfrl.training import Unrolled
from lib.transforms.augmentations import gaussian_blur

# Of the study's sizes those that page 09 needs.
USED = (
    *("side", "faces", "learn", "held", "test", "hidden", "dim", "mixer", "width", "pose_negatives"),
    *("batch", "dar_batch", "dar_rate", "dar_steps", "ablation_steps", "class_steps", "inner_steps"),
    *("probe_epochs", "seeds"),
)
PAGE_SIZES = {name: SIZES[name] for name in USED}
INPUTS = ("noise 0.1", "signs 8/255", "transfer", "released", "end to end")
READ_FROM = ("residual", "restored", "noisy face")
READOUTS = ("spectrum", "random ReLU")
READOUT = 256  # random ReLU features of the second readout of the kind of noise
BANDS = 16  # of spatial frequency, for the first
CLIMBS = {"10": 10, "20": 20, "50": 50, "100": 100}  # steps of PGD whose end is compared
RESTARTS = 3
BLURS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)  # pixels


@dataclass(frozen=True, eq=False)
class Degraded:
    """Clean faces (n, 3, H, W) in [0,1], the same degraded, and the kind (n,) of each degradation."""

    clean: Tensor
    given: Tensor
    kind: LongTensor


def degraded(clean: Tensor, seed: int = 0) -> Degraded:
    """Each face under a random one of the paper recipe's kinds of degradation."""
    generator = torch.Generator().manual_seed(seed)
    degrade = Degradations()
    kind = degrade.draw(len(clean), generator)
    return Degraded(clean, degrade(clean, kind, generator), kind)


def restoration_error(restorer: nn.Module, clean: Tensor) -> Objective:
    """What an attacker of the restoration raises: the squared error of F_K to the clean faces (n, 3, H, W)."""

    def score(restored: Tensor, wanted: Tensor) -> Tensor:
        return (restored - wanted).flatten(1).square().sum(1)

    return Objective((restorer,), restorer, score, (clean.to(next(restorer.parameters()).device),))


def given_to(
    restorer: Restorer, surrogate: nn.Module, clean: Tensor, labels: LongTensor, seed: int = 0
) -> dict[str, Tensor]:
    """The faces (n, 3, H, W) of each of `INPUTS`: two noises and PGD at 8/255 with three objectives.

    "transfer" climbs the surrogate's loss, "released" that of restored pixels, "end to end" the restoration's error.
    """
    generator = torch.Generator().manual_seed(seed)
    goals = {
        "transfer": objective_for("transfer", surrogate, labels, surrogate),
        "released": objective_for("released", Pixels(restorer), labels),
        "end to end": restoration_error(restorer, clean),
    }
    noisy = {name: KINDS[name](clean, generator) for name in INPUTS[:2]}
    return noisy | {name: attack(goal, clean, seed=seed).cpu() for name, goal in goals.items()}


def restored_quality(
    restorer: Restorer, surrogate: nn.Module, clean: Tensor, labels: LongTensor, seed: int = 0
) -> dict[str, Tensor]:
    """PSNR and SSIM (n, K + 1) of each of `INPUTS` before restoration and after each stage, as "PSNR <input>".

    "passed <input>" (n,): what arrives of the perturbation behind the last stage, in dB of its squared length; below 0
    it is weakened. Unlike PSNR it leaves out what restoration does to a clean face.
    """
    device = next(restorer.parameters()).device
    untouched = _restore(restorer, clean)
    found = {}
    for name, images in given_to(restorer, surrogate, clean, labels, seed).items():
        quality = quality_by_stage(restorer, clean.to(device), images.to(device))
        found |= {f"{measure} {name}": quality[measure] for measure in ("PSNR", "SSIM")}
        moved = (_restore(restorer, images) - untouched).flatten(1).square().sum(1)
        found[f"passed {name}"] = 10 * (moved / (images - clean).flatten(1).square().sum(1)).log10()
    return found


def restoration_convergence(restorer: Restorer, clean: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """The PSNR (n,) of restored faces after PGD of growing length on the restoration's error; the strongest point met.

    "restarts": `RESTARTS` random starts of the second longest, the worst of them for each face.
    """
    goal = restoration_error(restorer, clean)
    plans = {name: PGD.but(steps=steps, keep="best") for name, steps in CLIMBS.items()}
    plans["restarts"] = PGD.but(steps=sorted(CLIMBS.values())[-2], keep="best", restarts=RESTARTS)
    attacked = {name: attack(goal, clean, plan, seed=seed).cpu() for name, plan in plans.items()}
    return {name: _psnr(_restore(restorer, images), clean) for name, images in attacked.items()}


def blur_gain(held: Degraded, test: Degraded) -> tuple[float, Tensor]:
    """What plain Gaussian blur wins on degraded test faces: its width in pixels, best on `held`, and dB (m,).

    The control of a denoiser: it knows no face.
    """

    def won(faces: Degraded, sigma: float) -> Tensor:
        blurred = gaussian_blur(faces.given, faces.given.new_full((len(faces.given),), sigma), 5)
        return _psnr(blurred, faces.clean) - _psnr(faces.given, faces.clean)

    best = max(BLURS, key=lambda sigma: won(held, sigma).mean().item())
    return best, won(test, best)


def random_features(images: Tensor, width: int = READOUT, seed: int = 0) -> Tensor:
    """ReLU features (n, width) of images (n, 3, H, W) through one random linear layer, always the same one.

    A linear probe on pixels cannot see the size of noise whose mean is zero; behind a ReLU the mean grows with it. Of
    the width of the source's projection but not trained, so that residuals, restored and noisy faces are read alike.
    """
    with seeded(seed):
        layer = nn.Linear(images[0].numel(), width)
    with torch.no_grad():
        return F.relu(layer(images.flatten(1).cpu().float() * width**0.5))


def spectrum(images: Tensor, bands: int = BANDS) -> Tensor:
    """Logarithms (n, 3 bands) of the mean power of images (n, 3, H, W) in rings of equal width of spatial frequency.

    All kinds of degradation change it, so that a linear probe on it can read them from a face as well.
    """
    centred = images.cpu().float() - images.cpu().float().mean((2, 3), keepdim=True)
    power = torch.fft.rfft2(centred, norm="ortho").abs().square()  # (n, 3, H, W // 2 + 1)
    down, across = torch.fft.fftfreq(images.shape[2])[:, None], torch.fft.rfftfreq(images.shape[3])
    ring = ((down.square() + across.square()).sqrt() * 2 * bands).long().clamp(max=bands - 1).flatten()
    inside = F.one_hot(ring, bands).float()  # (H (W // 2 + 1), bands)
    mean = power.flatten(2) @ inside / inside.sum(0).clamp_min(1)
    return (mean + 1e-8).log().flatten(1)


@torch.no_grad()
def separation(restorer: Restorer, learn: Degraded, test: Degraded) -> dict[str, Tensor]:
    """What restored face and residual of the last stage tell of the kind of noise, and how they are correlated.

    For each of `READ_FROM` which test faces (m,) a linear probe, fitted on `learn`, gives the right kind, from the
    spectrum under this name and from random ReLU features as "<name>, random ReLU"; "correlation" (m,), the squared
    cosine of restored face and residual, each without its mean; "gain" (m,), the PSNR won in dB.
    """
    told, parts = {}, []
    for faces in (learn, test):
        restored = _restore(restorer, faces.given)
        parts.append({"residual": faces.given - restored, "restored": restored, "noisy face": faces.given})
    for name in READ_FROM:
        for readout, look in zip(READOUTS, (spectrum, random_features), strict=True):
            first, second = (look(part[name]) for part in parts)
            key = name if readout == READOUTS[0] else f"{name}, {readout}"
            told[key] = linear_predictability(first, learn.kind, second, test.kind)
    restored, residual = (parts[1][name].flatten(1) for name in ("restored", "residual"))
    centred = [part - part.mean(1, keepdim=True) for part in (restored, residual)]
    told["correlation"] = F.cosine_similarity(*centred, dim=1).square()
    told["gain"] = _psnr(parts[1]["restored"], test.clean) - _psnr(test.given, test.clean)
    return told


def recipe_gap(
    judged: dict[str, dict[str, Tensor]], one: str, other: str, key: str = "gain", seed: int = 0
) -> Interval:
    """What one recipe has more of than another in a value (trainings, n) of their `separation`, on the same faces.

    Trainings are paired by seed; a single one stands beside each of several.
    """
    return over_seeds(judged[one][key].double() - judged[other][key].double(), seed=seed)


def restoration_gain(restorer: Restorer, faces: Degraded) -> Tensor:
    """The PSNR (n,) in dB that restoration wins on degraded faces; negative where it loses."""
    return _psnr(_restore(restorer, faces.given), faces.clean) - _psnr(faces.given, faces.clean)


def _restore(restorer: Restorer, images: Tensor, batch: int = 64) -> Tensor:
    device = next(restorer.parameters()).device
    with evaluating(restorer):
        return torch.cat([restorer(part.to(device)).cpu() for part in images.split(batch)])


def _psnr(images: Tensor, clean: Tensor) -> Tensor:
    error = (images.clamp(0, 1) - clean).flatten(1).square().mean(1)
    return -10 * error.clamp_min(1e-12).log10()


def seconds_an_iteration(study: DARStudy, objective: Recipe, repeats: int = 2) -> float:
    """Seconds of one iteration (forward and backward; three of them where the objective alternates), the fastest."""
    images, people = study.faces
    objective = objective.but(pose_negatives=study.scale.pose_negatives)
    loss = Unrolled(images, objective, people if objective.target == "person" else None)
    learner = study.network().learner(objective, 100).to(study.run.device)
    turns = len(objective.steps) if objective.alternating else 1
    generator = torch.Generator().manual_seed(0)
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        for _ in range(turns):
            loss(learner, torch.arange(study.scale.dar_batch) % len(images), generator)["loss"].backward()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def expanded_nt_xent(both: Tensor, mixes: object, temperature: float = 0.07) -> Tensor:
    """NT-Xent of features (2n, d) whose interpolated negatives are built one by one, (2n, 2n - 2, d), as released."""
    rows = len(both)
    negatives = both[negatives_of(rows)]
    share = mixes.share[:, :, None]
    mixed = F.normalize(share * negatives + (1 - share) * negatives[:, mixes.order], dim=2)
    unit = F.normalize(both, dim=1)
    positive = (unit * unit.roll(rows // 2, 0)).sum(1, keepdim=True)
    logits = torch.cat([positive, torch.einsum("nd,nmd->nm", unit, mixed)], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(rows, dtype=torch.long))


def kept_bytes(function: object, *given: object) -> tuple[Tensor, int]:
    """What a function gives, and the bytes of all tensors that it keeps for its backward pass, each counted once."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found = function(*given)
        return found, sum(sizes.values())


def compare_negatives(rows: int, dim: int, seed: int = 0) -> dict[str, float]:
    """One loss by the Gram matrix and by the expanded tensor, of `rows` random features of `dim`: values and bytes.

    "apart": the largest difference of both gradients, over the largest entry of one.
    """
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(rows, dim, generator=generator).requires_grad_()
    mixes = mixing(rows, rows - 2, generator)
    exact, small = kept_bytes(mixed_nt_xent, both, mixes)
    wide, large = kept_bytes(expanded_nt_xent, both, mixes)
    values = {"by Gram matrix": exact.item(), "expanded": wide.item()}
    gradients = [torch.autograd.grad(loss, both)[0] for loss in (exact, wide)]
    values["apart"] = ((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max()).item()
    return values | {"bytes by Gram matrix": float(small), "bytes expanded": float(large)}


def slope(sizes: list[int], values: list[float]) -> float:
    """The exponent p of values ~ sizes^p, from the first and the last size."""
    x, y = (torch.tensor([float(part[0]), float(part[-1])]).log() for part in (sizes, values))
    return ((y[1] - y[0]) / (x[1] - x[0])).item()


def page_study(run: object, **knobs: object) -> DARStudy:
    """The study at the sizes that page 09 needs, with its table and the page's own knobs shown."""
    scale: SimpleNamespace = run.scale(**PAGE_SIZES, **knobs)
    return DARStudy(run, scale)
