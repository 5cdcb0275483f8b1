"""Every defence against every attack: scores of all systems under PIN's two protocols (section V-A)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.attacks.budgets import PIN_INTENSITY
from lib.evaluation.defended import online_scores, threshold_of
from lib.evaluation.protocols import attack_pairs
from lib.evaluation.verification import eer
from lib.models import Recogniser, embed_all
from lib.progress import progress
from lib.seeds import seeded

Scores = dict[str, dict[str, Tensor]]  # condition, system: (draws, P)
Held = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Contest:
    """Test pairs x, y (P, 1, H, W) in [0,1], same (P,), and what all measurements of them share.

    held_out: pairs of other people, for DeepFool's threshold. draws: of random systems, by name; others need one.
    kept: `run.kept`, so that each result stands on its own and a stopped run goes on where it was.
    """

    kept: Callable
    x: Tensor
    y: Tensor
    same: Tensor
    held_out: Held
    draws: Mapping[str, int]
    intensity: float = PIN_INTENSITY
    seed: int = 0

    def thin(self, step: int) -> "Contest":
        """Every `step`-th pair."""
        parts = (part[::step] for part in (self.x, self.y, self.same))
        return Contest(self.kept, *parts, self.held_out, self.draws, self.intensity, self.seed)

    def offline(self, bare: Recogniser, systems: Mapping[str, Recogniser], attacks: Sequence[str]) -> Scores:
        """Scores of every system on clean pairs and on pairs attacked on the bare recogniser."""
        images = {"clean": self.x} | self.attacked(bare, attacks)
        scores: Scores = {("clean" if name == "clean" else f"offline / {name}"): {} for name in images}
        for name, system in progress(systems.items(), "scoring each defence", len(systems)):
            found = self.kept(scores_of_all, system, images, self.y, self.draws.get(name, 1), self.seed)
            for condition, key in zip(scores, images, strict=True):
                scores[condition][name] = found[key]
        return scores

    def attacked(self, bare: Recogniser, attacks: Sequence[str]) -> dict[str, Tensor]:
        """Adversarial first images (P, 1, H, W) by attack, made on the bare recogniser."""
        level = threshold_of(bare, self.held_out)
        data = (self.x, self.y, self.same, self.intensity, level, self.seed)
        return {name: self.kept(attack_pairs, name, bare, *data) for name in progress(attacks, "attacking")}

    def online(self, systems: Mapping[str, Recogniser], attacks: Sequence[str]) -> Scores:
        """Scores of every system on pairs attacked through itself."""
        jobs = [(attack, name) for name in systems for attack in attacks]
        scores: Scores = {f"online / {attack}": {} for attack in attacks}
        for attack, name in progress(jobs, "attacking through each defence"):
            level = threshold_of(systems[name], self.held_out) if attack == "DeepFool" else 0.0
            data = (self.x, self.y, self.same, self.intensity, level, self.draws.get(name, 1), self.seed)
            scores[f"online / {attack}"][name] = self.kept(online_scores, attack, systems[name], *data)
        return scores


def joined(parts: Sequence[Scores]) -> Scores:
    """Scores of parts of the test, each with a basis of its own, as those of one test; axis 1 is the pairs."""
    return {
        condition: {name: torch.cat([part[condition][name] for part in parts], 1) for name in parts[0][condition]}
        for condition in parts[0]
    }


def scores_of_all(
    model: Recogniser, images: Mapping[str, Tensor], y: Tensor, draws: int = 1, seed: int = 0
) -> dict[str, Tensor]:
    """Cosines (draws, P) of y with each of several versions of the first images; y is embedded once a draw."""
    rows: dict[str, list[Tensor]] = {name: [] for name in images}
    with seeded(seed):
        for _ in range(draws):
            second = embed_all(model, y)
            for name, x in images.items():
                rows[name].append((embed_all(model, x) * second).sum(1).cpu())
    return {name: torch.stack(part) for name, part in rows.items()}


def sum_of_errors(model: Recogniser, held_out: Held, attacked: Tensor, draws: int = 1) -> float:
    """Clean EER plus EER on attacked held-out pairs: what settings are chosen by."""
    x, y, same = held_out
    found = scores_of_all(model, {"clean": x, "attacked": attacked}, y, draws)
    return sum(float(eer(part.flatten(), same.repeat(draws))) for part in found.values())


def mean_over_draws(rates: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean of a few independent draws and its 95 % interval by Student's t, as PIN's Table V gives it."""
    values = torch.tensor(rates, dtype=torch.float64)
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}.get(len(values), 1.96)
    half = quantile * float(values.std()) / len(values) ** 0.5
    return float(values.mean()), (float(values.mean()) - half, float(values.mean()) + half)
