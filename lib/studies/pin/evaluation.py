"""Every defence against every attack: scores of all systems under PIN's two protocols (section V-A)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import LongTensor, Tensor

from lib.book.run import Run
from lib.data.examples import ImagePairs
from lib.data.sets import ImageSet
from lib.evaluation.randomised_defences import threshold_of
from lib.evaluation.verification import eer
from lib.models import Recogniser, embed_all
from lib.progress import progress
from lib.seeds import seeded
from lib.studies.pin.attacks import attack_pairs
from lib.studies.pin.galleries import gallery, ordered_pairs, some_pairs
from lib.studies.pin.pca_tradeoff import Scores, gray_pairs


@dataclass(frozen=True, eq=False)
class Contest:
    """Test pairs of gray images, and what all measurements of them share.

    Each result is kept by the run on its own, so that a stopped one goes on where it was. held_out: pairs of other
    people, for DeepFool's threshold. draws: of random systems, by name; others need one.
    """

    run: Run
    pairs: ImagePairs
    held_out: ImagePairs | None = None
    draws: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0

    def thin(self, step: int) -> "Contest":
        """Every `step`-th pair."""
        return replace(self, pairs=self.pairs.rows(slice(None, None, step)))

    def offline(self, bare: Recogniser, systems: Mapping[str, Recogniser], attacks: Sequence[str]) -> Scores:
        """Scores of every system on clean pairs and on pairs attacked on the bare recogniser."""
        images = {"clean": self.pairs.x} | self.attacked(bare, attacks)
        scores: Scores = {("clean" if name == "clean" else f"offline / {name}"): {} for name in images}
        for name, system in progress(systems.items(), "scoring each defence", len(systems)):
            draws = self.draws.get(name, 1)
            by_image = self.run.kept(scores_of_all, system, images, self.pairs.y, draws, self.seed)
            for condition, key in zip(scores, images, strict=True):
                scores[condition][name] = by_image[key]
        return scores

    def attacked(self, bare: Recogniser, attacks: Sequence[str]) -> dict[str, Tensor]:
        """Adversarial first images (P, 1, H, W) by attack, made on the bare recogniser."""
        level = self.level(bare, attacks)
        return {
            name: self.run.kept(attack_pairs, name, bare, self.pairs, threshold=level, seed=self.seed)
            for name in progress(attacks, "attacking")
        }

    def online(self, systems: Mapping[str, Recogniser], attacks: Sequence[str]) -> Scores:
        """Scores of every system on pairs attacked through itself."""
        scores: Scores = {f"online / {attack}": {} for attack in attacks}
        for name, system in progress(systems.items(), "attacking through each defence", len(systems)):
            level = self.level(system, attacks)
            draws = self.draws.get(name, 1)
            by_attack = self.run.kept(online_scores, list(attacks), system, self.pairs, level, draws, self.seed)
            for attack in attacks:
                scores[f"online / {attack}"][name] = by_attack[attack]
        return scores

    def level(self, system: Recogniser, attacks: Sequence[str]) -> float:
        """The threshold of DeepFool's decision; 0 where no attack asks for one."""
        return threshold_of(system, self.held_out) if "DeepFool" in attacks else 0.0


@dataclass(frozen=True)
class GalleryProtocol:
    """PIN's MegaFace protocol (section V-B): draws of pictures, ordered pairs of each kind, pictures of each person."""

    repeats: int = 5
    pairs: int = 1000
    images: int = 10
    offline_only: tuple[str, ...] = ()  # systems without a gradient


def over_galleries(
    contest: Contest,
    faces: ImageSet,
    people: LongTensor,
    systems: Mapping[str, Recogniser],
    attacks: Sequence[str],
    protocol: GalleryProtocol,
) -> dict[tuple[str, str], list[float]]:
    """EERs in per cent of each (condition, system) under PIN's MegaFace protocol, one a draw of pictures.

    contest: its pairs are replaced by those of each draw, the rest is as it says. systems: "none" is the bare
    recogniser, on which offline attacks are made; its online rows are its offline ones.
    """
    rates: dict[tuple[str, str], list[float]] = {}
    through = {name: system for name, system in systems.items() if name not in ("none", *protocol.offline_only)}
    for draw in range(protocol.repeats):
        index = gallery(faces.labels, people, protocol.images, contest.seed + draw)
        some = some_pairs(ordered_pairs(faces.labels, index), protocol.pairs, contest.seed + draw)
        drawn = replace(contest, pairs=gray_pairs(faces, some))
        scores = drawn.offline(systems["none"], systems, attacks) | drawn.online(through, attacks)
        for attack in attacks:
            scores[f"online / {attack}"]["none"] = scores[f"offline / {attack}"]["none"]
        for condition, of in scores.items():
            for name, values in of.items():
                rate = 100 * float(eer(values.flatten(), some.same.repeat(len(values))))
                rates.setdefault((condition, name), []).append(rate)
    return rates


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
    pairs: ImagePairs,
    threshold: float = 0.0,
    draws: int = 1,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Scores (draws, P) that a model gives to pairs attacked through itself, by attack; judged by fresh draws."""
    images = {name: attack_pairs(name, model, pairs, threshold=threshold, seed=seed) for name in attacks}
    return scores_of_all(model, images, pairs.y, draws, seed + 1)


def sum_of_errors(model: Recogniser, held_out: ImagePairs, attacked: Tensor, draws: int = 1) -> float:
    """Clean EER plus EER on attacked held-out pairs: what settings are chosen by."""
    scores = scores_of_all(model, {"clean": held_out.x, "attacked": attacked}, held_out.y, draws)
    return sum(float(eer(part.flatten(), held_out.same.repeat(draws))) for part in scores.values())
