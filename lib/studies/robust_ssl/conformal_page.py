"""What page 17 measures: accuracy, clean, under distortion and under true perspective, of each kind of views."""

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError, choices
from lib.studies.robust_ssl.conformal_checks import NOTHING
from lib.studies.robust_ssl.probes import LinearProbe, ProbeRecipe, features_of, fit_probe, probe_from
from lib.studies.robust_ssl.study import TRAINED_VIEWS, SSLStudy, bent_views
from lib.studies.robust_ssl.views import STANDARD, AnyViews
from lib.transforms.conformal_views import ConformalViews
from lib.transforms.distortions import DIRECTIONS, MAGNITUDE, SUBSETS, SWEEP, degrees_as_strong, distort, tilt

TESTS = ("clean", "black", "padded", "tilted, black", "tilted, padded")
ARMS = {
    "standard": "standard views",
    "moebius": "+ MPD",
    "log": "+ LCM",
    "homography": "+ homographies",
    "affine": "+ affine maps",
    "released": "+ MPD as released",
}
# The release fits SimCLR's probe, too, on pictures of which a fifth are distorted.
PROBED_ON = ConformalViews("moebius", 0.2, (0.2, 0.4), 0.75, views=NOTHING)
Found = dict[str, Tensor]


def views_named(name: str, method: str = "SimCLR") -> AnyViews:
    """The views of one of `ARMS`, as the method takes them."""
    if name not in ARMS:
        raise WorkbookError(f"The views of this page are {choices(list(ARMS))}, not '{name}': choose one.")
    return STANDARD if name == "standard" else bent_views(name, method)


def arms_of(method: str) -> tuple[str, ...]:
    """Which of `ARMS` a method is trained with at every profile."""
    return ("standard", *TRAINED_VIEWS[method])


@torch.no_grad()
def right_under(probe: nn.Module, images: Tensor, labels: LongTensor, device: str = "cpu") -> Found:
    """How often each image (n, 3, H, W) uint8 is named rightly, clean and distorted: shares (n,) over directions.

    `TESTS` by name: "black" and "padded" at |c| = 0.3, "tilted" as strong, all means over the four directions; "sweep"
    (n, 1 + magnitudes): clean, then `SWEEP` with a black rim; "subsets" (n, 8): `SUBSETS`, one by one.
    """
    parts = [_right_part(probe, *part, device) for part in zip(images.split(500), labels.split(500), strict=True)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _right_part(probe: nn.Module, images: Tensor, labels: LongTensor, device: str) -> Found:
    x = images.to(device).float() / 255

    def right(changed: Tensor) -> Tensor:
        return (probe(changed).argmax(1).cpu() == labels).double()

    clean = right(x)
    subsets = torch.stack([right(distort(x, *subset)) for subset in SUBSETS.values()], 1)
    angle = degrees_as_strong()
    tilted = torch.stack([right(tilt(x, *subset, angle)) for subset in SUBSETS.values()], 1)
    sweep = [clean]
    for size in SWEEP:
        if size == MAGNITUDE:
            sweep.append(subsets[:, :4].mean(1))
        else:
            sweep.append(torch.stack([right(distort(x, way, "black", size)) for way in DIRECTIONS]).mean(0))
    halves = {"black": subsets[:, :4], "padded": subsets[:, 4:]}
    halves |= {"tilted, black": tilted[:, :4], "tilted, padded": tilted[:, 4:]}
    found = {name: part.mean(1) for name, part in halves.items()}
    return {"clean": clean, **found, "sweep": torch.stack(sweep, 1), "subsets": subsets}


def judge_arm(study: SSLStudy, method: str, name: str) -> Found:
    """`right_under` of a method trained with one of `ARMS`, stacked over seeds: (seeds, n) and (seeds, n, ...)."""
    encoders = [study.encoder(method, seed, views_named(name, method)) for seed in study.scale.seeds]
    return judge_probes(study, [study.probe(encoder) for encoder in encoders])


def judge_probes(study: SSLStudy, probes: list[LinearProbe], domain: str = "objects") -> Found:
    """`right_under` of each probe on the first `distorted` test images of a domain, stacked."""
    data = study.labelled(domain)
    images, labels = (part["test"][: study.scale.distorted] for part in (data.images, data.labels))
    return study.for_each(right_under, probes, images, labels, study.device)


def judge_lengths(study: SSLStudy) -> dict[int, dict[str, Found]]:
    """`right_under` of SimCLR with "standard" and "released" views, stacked over seeds, by the steps of training."""
    s = study.scale
    found = {}
    for steps in (s.short_steps, s.steps, s.long_steps):
        trained = {
            name: [study.of_length(steps, seed, views_named(name)) for seed in s.seeds]
            for name in ("standard", "released")
        }
        found[steps] = {
            name: judge_probes(study, [study.probe(study.encoder_from(one)) for one in some])
            for name, some in trained.items()
        }
    return found


def judge_probed_on(study: SSLStudy, method: str, name: str = "standard") -> Found:
    """`right_under` of the encoders of one of `ARMS`, whose probes are fitted on distorted pictures."""
    probes = []
    data, recipe = study.objects, ProbeRecipe(steps=study.scale.probe_steps)
    for seed in study.scale.seeds:
        encoder = study.encoder(method, seed, views_named(name, method))
        fitted = study.run.kept(fit_on_distorted, encoder, data.images, data.labels, recipe, study.device)
        probes.append(probe_from(encoder, fitted).to(study.run.device))
    return judge_probes(study, probes)


def fit_on_distorted(
    encoder: nn.Module, images: dict[str, Tensor], labels: dict[str, LongTensor], recipe: ProbeRecipe, device: str
) -> Found:
    """A probe as `fit_probe` gives it, whose pictures are distorted once with the chance that `PROBED_ON` has."""
    draw = Generator().manual_seed(0)
    given = []
    for name in ("learn", "held"):
        seen = torch.cat([PROBED_ON(part.float() / 255, draw) for part in images[name].split(500)])
        given.append((features_of(encoder, seen, device), labels[name]))
    return fit_probe(*given, recipe)
