"""Every defence against every attack: scores of all systems under PIN's two protocols (section V-A)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.data.sets import ImageSet
from lib.evaluation.randomised_defences import threshold_of
from lib.evaluation.verification import eer
from lib.models import Recogniser, embed_all
from lib.progress import progress
from lib.seeds import seeded
from lib.studies.pin.attacks import PIN_INTENSITY, attack_pairs
from lib.studies.pin.galleries import gallery, ordered_pairs, some_pairs
from lib.studies.pin.pca_tradeoff import gray_pairs

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
        scores: Scores = {f"online / {attack}": {} for attack in attacks}
        for name, system in progress(systems.items(), "attacking through each defence", len(systems)):
            level = threshold_of(system, self.held_out) if "DeepFool" in attacks else 0.0
            data = (self.x, self.y, self.same, self.intensity, level, self.draws.get(name, 1), self.seed)
            found = self.kept(online_scores, list(attacks), system, *data)
            for attack in attacks:
                scores[f"online / {attack}"][name] = found[attack]
        return scores


def over_galleries(
    kept: Callable,
    faces: ImageSet,
    people: LongTensor,
    systems: Mapping[str, Recogniser],
    attacks: Sequence[str],
    held_out: Held,
    draws: Mapping[str, int],
    *,
    repeats: int = 5,
    pairs: int = 1000,
    images: int = 10,
    offline_only: Sequence[str] = (),
    seed: int = 0,
) -> dict[tuple[str, str], list[float]]:
    """PIN's MegaFace protocol (section V-B): EERs in per cent of each (condition, system), one a draw of pictures.

    Each of `repeats` draws takes `images` pictures of each of `people` and up to `pairs` ordered pairs of each kind.
    systems: "none" is the bare recogniser, on which offline attacks are made; its online rows are its offline ones.
    """
    found: dict[tuple[str, str], list[float]] = {}
    through = {name: system for name, system in systems.items() if name not in ("none", *offline_only)}
    for draw in range(repeats):
        index = gallery(faces.labels, people, images, seed + draw)
        some = some_pairs(ordered_pairs(faces.labels, index), pairs, seed + draw)
        sides = gray_pairs(faces, some.first, some.second)
        contest = Contest(kept, *sides, some.same, held_out, draws, seed=seed)
        scores = contest.offline(systems["none"], systems, attacks) | contest.online(through, attacks)
        for attack in attacks:
            scores[f"online / {attack}"]["none"] = scores[f"offline / {attack}"]["none"]
        for condition, of in scores.items():
            for name, values in of.items():
                rate = 100 * float(eer(values.flatten(), some.same.repeat(len(values))))
                found.setdefault((condition, name), []).append(rate)
    return found


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


def online_scores(
    attacks: Sequence[str],
    model: Recogniser,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    intensity: float = PIN_INTENSITY,
    threshold: float = 0.0,
    draws: int = 1,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Scores (draws, P) that a model gives to pairs attacked through itself, by attack; judged by fresh draws."""
    data = (model, x, y, same, intensity, threshold, seed)
    return scores_of_all(model, {name: attack_pairs(name, *data) for name in attacks}, y, draws, seed + 1)


def sum_of_errors(model: Recogniser, held_out: Held, attacked: Tensor, draws: int = 1) -> float:
    """Clean EER plus EER on attacked held-out pairs: what settings are chosen by."""
    x, y, same = held_out
    found = scores_of_all(model, {"clean": x, "attacked": attacked}, y, draws)
    return sum(float(eer(part.flatten(), same.repeat(draws))) for part in found.values())
