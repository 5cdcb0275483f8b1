"""Which PGD did PIN run? Every reading of "PGD at intensity 0.04" against the EERs that the source prints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from lib.attacks import Intensity
from lib.book.run import Run
from lib.data.examples import ImagePairs
from lib.evaluation import eer
from lib.evaluation.resampling import pair_weights
from lib.interval import Interval
from lib.models import Recogniser, similarity
from lib.papers import printed
from lib.progress import progress
from lib.studies.pin.attacks import PIN_INTENSITY
from lib.studies.pin.pca_tradeoff import FittedPairs, climb, pca_systems, reach_intensity

STEPS = (10, 20, 40)
RULES = {"sign": "sign", "L2": "l2"}  # as the page says it: as the climb knows it
CONVENTIONS = ("[-1,1]", "[0,1]")
ARCFACE = {"none": "none (ArcFace)"}  # Table XV has a second recogniser; Table IV repeats the rows of 'none'


@dataclass(frozen=True)
class Reading:
    """One reading of "PGD": the rule of its steps, the images that the intensity counts on, the number of steps."""

    rule: str
    convention: str
    steps: int

    def __str__(self) -> str:
        return f"{self.rule} of {self.convention}, {self.steps} steps"


READINGS = tuple(Reading(rule, images, steps) for rule in RULES for images in CONVENTIONS for steps in STEPS)


@dataclass(frozen=True)
class Cell:
    """One printed EER, in per cent: an attack on a system, offline or online."""

    attack: str
    protocol: str
    system: str
    paper: float

    def __str__(self) -> str:
        return f"{self.attack}, {self.protocol} {self.system}"


def printed_cells(systems: Sequence[str]) -> list[Cell]:
    """The FGSM and PGD cells of PIN's Tables IV and XV whose systems are given; 'none' has no protocol, so counts once.

    The cells of Table IV with a trained defence need that defence: they are page 04's.
    """
    places = [(attack, "offline", k) for attack in ("FGSM", "PGD") for k in systems]
    places += [(attack, "online", k) for attack in ("FGSM", "PGD") for k in systems if k != "none"]
    return [
        Cell(attack, protocol, k, printed("pin", "Table XV", f"{protocol} / {ARCFACE.get(k, k)}", attack).value)
        for attack, protocol, k in places
    ]


def climb_scores(
    attacked: Recogniser, judges: Mapping[str, Recogniser], rule: str, convention: str, pairs: ImagePairs, seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """Scores (P,) of each judge after 10, 20 and 40 steps of one climb, its images rescaled to exactly the intensity.

    rule: 'sign' or 'l2', or 'FGSM' for its one step (under '1').
    """
    stops = [1] if rule == "FGSM" else list(STEPS)
    intensity = Intensity(PIN_INTENSITY, convention)
    found = climb(attacked, pairs, "sign" if rule == "FGSM" else rule, intensity, stops, seed)
    exact = [reach_intensity(pairs.x, images, intensity) for images in found]
    return {
        str(stop): {name: similarity(judge, images, pairs.y) for name, judge in judges.items()}
        for stop, images in zip(stops, exact, strict=True)
    }


def grid_scores(run: Run, model: Recogniser, fitted: FittedPairs, counts: Sequence[int], seed: int = 0) -> Tensor:
    """Scores (readings, cells, P) of every reading on every printed cell; a cell of FGSM hangs on the convention alone.

    Each climb is a kept result of its own.
    """
    every = pca_systems(model, fitted.basis, counts)
    found = {}
    jobs = [(k, rule, images) for k in every for rule in ("FGSM", *RULES.values()) for images in CONVENTIONS]
    for k, rule, images in progress(jobs, "climbing by every rule"):
        judges = every if k == "none" else {k: every[k]}
        found[k, rule, images] = run.kept(climb_scores, every[k], judges, rule, images, fitted.images, seed)

    def scores(reading: Reading, cell: Cell) -> Tensor:
        attacked = "none" if cell.protocol == "offline" else cell.system
        fast = cell.attack == "FGSM"
        rule = "FGSM" if fast else RULES[reading.rule]
        return found[attacked, rule, reading.convention]["1" if fast else str(reading.steps)][cell.system]

    cells = printed_cells(list(every))
    return torch.stack([torch.stack([scores(reading, cell) for cell in cells]) for reading in READINGS])


@dataclass(frozen=True, eq=False)
class Fit:
    """EERs of each reading on each printed cell: `rates` (readings, cells); `drawn` (D, readings, cells) by bootstrap.

    All in per cent, over `n` pairs; people are drawn, and all readings see the same draws.
    """

    cells: list[Cell]
    rates: Tensor
    drawn: Tensor
    n: int

    def gaps(self, rates: Tensor) -> Tensor:
        """Absolute distances (..., readings, cells) of EERs to the printed ones, in points."""
        return (rates - torch.tensor([cell.paper for cell in self.cells], dtype=rates.dtype)).abs()

    def columns(self, attack: str = "") -> list[int]:
        """The places of the cells of one attack; of all without a name."""
        return [at for at, cell in enumerate(self.cells) if attack in ("", cell.attack)]

    def distance(self, reading: Reading, attack: str = "") -> Interval:
        """Mean absolute distance of a reading to the printed cells (of one attack), in points."""
        at = READINGS.index(reading)
        return self._interval(lambda rates: self.gaps(rates)[..., at, self.columns(attack)].mean(-1))

    def excess(self, reading: Reading, other: Reading, attack: str = "") -> Interval:
        """Distance of `reading` less that of `other`, on the same draws: above 0, the other is nearer."""
        first = READINGS.index(reading)
        second = READINGS.index(other)
        columns = self.columns(attack)

        def gap(rates: Tensor) -> Tensor:
            gaps = self.gaps(rates)[..., columns].mean(-1)
            return gaps[..., first] - gaps[..., second]

        return self._interval(gap)

    def nearest(self, columns: Sequence[int] | None = None) -> Reading:
        """The reading with the smallest mean distance to all cells, or to those at `columns`."""
        chosen = self.columns() if columns is None else list(columns)
        return READINGS[int(self.gaps(self.rates)[:, chosen].mean(1).argmin())]

    def how_often_nearest(self) -> Tensor:
        """Share of the bootstrap draws (readings,) in which each reading is the nearest."""
        winners = self.gaps(self.drawn).mean(-1).argmin(-1)
        return torch.bincount(winners, minlength=len(READINGS)) / len(winners)

    def not_told_apart(self, attack: str = "") -> list[Reading]:
        """The nearest reading (on one attack's cells) and all whose distance is not above its own at 95 %."""
        best = self.nearest(self.columns(attack))
        return [reading for reading in READINGS if reading == best or self.excess(reading, best, attack).low <= 0]

    def cross_fit(self) -> list[tuple[Reading, float]]:
        """For every half of the cells, the reading that is nearest there and its distance on the other half (points).

        All ways to halve the cells are taken, so each half is once fitted on and once judged on.
        """
        gaps = self.gaps(self.rates)
        found = []
        for half in combinations(range(len(self.cells)), len(self.cells) // 2):
            rest = [at for at in range(len(self.cells)) if at not in half]
            chosen = self.nearest(half)
            found.append((chosen, float(gaps[READINGS.index(chosen), rest].mean())))
        return found

    def span(self, cell: Cell) -> Interval:
        """Largest less smallest EER of a cell over all readings, in points."""
        at = self.cells.index(cell)
        return self._interval(lambda rates: rates[..., at].amax(-1) - rates[..., at].amin(-1))

    def _interval(self, statistic: Callable[[Tensor], Tensor]) -> Interval:
        drawn = statistic(self.drawn)
        low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()
        return Interval(float(statistic(self.rates)), low, high, n=self.n, method="bootstrap")


def fit_readings(
    scores: Tensor, same: Tensor, people: Tensor, cells: Sequence[Cell], resamples: int = 1000, seed: int = 0
) -> Fit:
    """The fit of `grid_scores` (readings, cells, P) of pairs `same` (P,) between `people` (P, 2)."""
    weights = torch.cat(list(pair_weights(same, people, resamples, seed)))
    known: dict[bytes, tuple[float, Tensor]] = {}  # FGSM's scores stand in several readings

    def rates(values: Tensor) -> tuple[float, Tensor]:
        key = values.numpy().tobytes()
        if key not in known:
            known[key] = (100 * eer(values, same), 100 * eer(values, same, weights=weights))
        return known[key]

    found = [[rates(values) for values in row] for row in scores]
    estimates = torch.tensor([[rate for rate, _ in row] for row in found], dtype=torch.float64)
    drawn = torch.stack([torch.stack([draws for _, draws in row], -1) for row in found], -2)
    drawn = drawn[drawn.isfinite().flatten(1).all(1)]  # a draw without any pair of one kind has no error rate
    return Fit(list(cells), estimates, drawn, len(same))
