"""What page 18 measures: accuracies over seeds, leads of methods, equality of our ACL step with the core's."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from lib.evaluation.intervals import wilson
from lib.interval import Interval
from lib.studies.robust_ssl.adversarial.faces import FaceFeatures, FaceJudges, FacePairs, verified
from lib.studies.robust_ssl.adversarial.methods import ACL
from lib.studies.robust_ssl.adversarial.study import BY_PASSES, FIXED, LABEL_SHARES, SelfATStudy
from lib.studies.robust_ssl.adversarial.training import SELF_AT
from lib.studies.robust_ssl.joint_embedding_page import drawn_with_repeats
from lib.training.adversarial_contrast import AdversarialContrast

Rights = Mapping[str, Tensor]  # "SA" (seeds, n), "RA" and "WC" (seeds, k), "AA" (seeds, m) bool
ROBUST = ("RoCL", "ACL", "AdvCL", "DeACL", "DynACL")
DUAL = ("ACL", "AdvCL", "DynACL")  # with more than one set of batch statistics


def slf_rights(study: SelfATStudy, method: str, budget: str = "epochs", way: str = "adversarial") -> dict[str, Tensor]:
    """Which test pictures are right after SLF: stacked over seeds. method: as in `SelfATStudy.robust_encoder`.

    AutoAttack judges the adversarial route at equal epochs alone. There the methods of the order, and SimCLR at equal
    passes, have a training for each of the `order_seeds`.
    """
    more = (budget == "epochs" and method in (*SELF_AT, "untrained")) or method == "SimCLR"
    seeds = study.scale.order_seeds if more else study.scale.seeds
    encoders = [study.robust_encoder(method, seed, budget) for seed in seeds]
    official = (budget, way) == ("epochs", "adversarial")
    return study.judged_robust([study.linear(encoder, way) for encoder in encoders], official)


def fixed_rights(study: SelfATStudy, name: str) -> dict[str, Tensor]:
    """The same for DynACL with an augmentation of fixed strength."""
    kind = SELF_AT["DynACL"]
    encoders = [study.loaded(kind, study.fixed(name, seed)) for seed in study.scale.seeds]
    return study.judged_robust([study.linear(encoder) for encoder in encoders], official=False)


def tuned_rights(study: SelfATStudy, method: str, mode: str, seeds: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Which test pictures are right after ALF or AFF, stacked over seeds (None: those of the scale)."""
    seeds = seeds or study.scale.seeds
    own = study.own_rate(method, mode)
    models = [study.tuned_classifier(study.robust_encoder(method, seed), mode, seed, **own) for seed in seeds]
    return study.judged_robust(models, official=False, quick=mode == "ALF")


def longer_rights(study: SelfATStudy) -> dict[str, Tensor]:
    """The same for untrained encoders that are fully fine-tuned for as many passes as ACL takes with its training."""
    found = [
        study.tuned_classifier(study.robust_encoder("untrained", seed), "AFF", seed, **study.longest)
        for seed in study.scale.seeds
    ]
    return study.judged_robust(found, official=False)


def few_label_rights(study: SelfATStudy, method: str, share: float) -> dict[str, Tensor]:
    """Which test pictures are right after SLF with that share of the labels, which each seed draws anew."""
    models = [study.few_labels(study.robust_encoder(method, seed), share, seed) for seed in study.scale.seeds]
    return study.judged_robust(models, quick=True)


def judgements(study: SelfATStudy) -> dict[str, Callable[[], object]]:
    """The costly part of judging, by name: AutoAttack and PGD behind linear layers, PGD after fine-tuning, of faces."""
    jobs: dict[str, Callable[[], object]] = {}
    for name in (*SELF_AT, "untrained", "DynACL++"):
        jobs[f"judged SLF {name}"] = partial(slf_rights, study, name)
    for name in (*SELF_AT, "untrained"):
        jobs[f"judged AFF {name}"] = partial(tuned_rights, study, name, "AFF")
        jobs[f"judged few labels {name}"] = partial(few_labels_of, study, name)
    for name in BY_PASSES:
        jobs[f"judged SLF passes {name}"] = partial(slf_rights, study, name, "passes")
    for name in DUAL:
        jobs[f"judged SLF clean {name}"] = partial(slf_rights, study, name, way="clean")
    for name in FIXED:
        jobs[f"judged SLF fixed {name}"] = partial(fixed_rights, study, name)
    jobs["judged AFF longer"] = partial(longer_rights, study)
    for name in SELF_AT:
        jobs[f"judged steps {name}"] = partial(study.by_steps, name)
    return jobs


def few_labels_of(study: SelfATStudy, method: str) -> dict[float, dict[str, Tensor]]:
    """`few_label_rights` for every one of `LABEL_SHARES`."""
    return {share: few_label_rights(study, method, share) for share in LABEL_SHARES}


def verified_encoder(
    study: SelfATStudy, method: str, seed: int, pairs: FacePairs, judges: FaceJudges
) -> dict[str, Tensor]:
    """Scores of the face pairs by one training on faces, clean and under every attack of the check list."""
    encoder = study.robust_encoder(method, seed, domain="faces")
    model = FaceFeatures(encoder, study.faces.images, device=study.device).to(study.device)
    return study.run.kept(verified, model, pairs, judges)


def points(right: Rights, measure: str = "RA") -> Tensor:
    """Accuracy in points of each picture, (seeds, n)."""
    return 100 * right[measure].double()


def lead(right: Mapping[str, Rights], one: str, other: str, measure: str = "RA") -> Tensor:
    """By how many points `one` is ahead of `other` on each picture, (seeds, n), for the seeds that both have."""
    both = [points(right[name], measure) for name in (one, other)]
    return both[0][: len(both[1])] - both[1][: len(both[0])]


def least_lead(leads: Sequence[Tensor], **draws: int) -> Interval:
    """The smallest of several mean leads (seeds, n), trainings that all have and pictures drawn alike for all."""
    fewest = min(len(part) for part in leads)
    whole = torch.stack([part[:fewest] for part in leads])  # (leads, seeds, n)

    def effect(rows: Tensor, columns: Tensor) -> float:
        return whole[:, rows][:, :, columns].mean((1, 2)).min().item()

    return drawn_with_repeats(effect, *whole.shape[1:], **draws)


def spread_shrinks(slf: Mapping[str, Rights], aff: Mapping[str, Rights], **draws: int) -> Interval:
    """Largest less smallest worst case of the robust methods in points: after SLF less after AFF, seeds of both."""
    fewest = min(len(right[name]["WC"]) for right in (slf, aff) for name in ROBUST)
    both = [torch.stack([points(right[name], "WC")[:fewest] for name in ROBUST]) for right in (slf, aff)]

    def effect(rows: Tensor, columns: Tensor) -> float:
        means = [part[:, rows][:, :, columns].mean((1, 2)) for part in both]
        return ((means[0].max() - means[0].min()) - (means[1].max() - means[1].min())).item()

    return drawn_with_repeats(effect, *both[0].shape[1:], **draws)


def missed_by_pgd(right: Mapping[str, Rights], **draws: int) -> Interval:
    """Points that AutoAttack takes beyond the worst case of PGD, the largest over the methods, on the same pictures."""
    gaps = []
    for found in right.values():
        many = found["AA"].shape[1]
        gaps.append(100 * (found["WC"][:, :many].double() - found["AA"].double()))
    found = least_lead([-gap for gap in gaps], **draws)
    most = -found.low if found.estimate else 100 * wilson(0, found.n).high  # none of n is no proof of none at all
    return Interval(-found.estimate + 0.0, -found.high + 0.0, most, n=found.n)


def against_core(study: SelfATStudy, pictures: int = 16) -> float:
    """|ours / the core's - 1| of one ACL step on the same pictures and random numbers."""
    images = study.objects.images["learn"][:pictures]
    plan = study.plan_of_method(ACL)
    given = plan.options
    model = plan.model()
    ours = plan.loss(images, model)
    strength = given.strength
    theirs = AdversarialContrast(
        images, given.views, None, "dual", strength.eps, strength.step, strength.steps, given.temperature
    )
    index = torch.arange(len(images))
    values = []
    for loss in (ours, theirs):
        same = copy.deepcopy(model).train()  # a step renews the statistics that an attack runs on
        found = loss(same, index, torch.Generator().manual_seed(0))
        values.append(found["loss"].item())
    return abs(values[0] / values[1] - 1)


def above_trivial(slf: Mapping[str, Rights], answer: Tensor, **draws: int) -> Interval:
    """Worst case of ACL's encoder in points less that of an untrained one, or of one fixed answer if that is more.

    answer: which test pictures (n,) are right for who always names the most frequent class; no attack changes it.
    """
    robust = points(slf["ACL"], "WC")
    fixed = 100 * answer[: robust.shape[1]].double().expand_as(robust)
    return least_lead([lead(slf, "ACL", "untrained", "WC"), robust - fixed], **draws)


def only_uncounted(slf: Mapping[str, Rights], equal: Mapping[str, Rights], **draws: int) -> Interval:
    """Smaller of DeACL's lead over ACL at equal epochs and of its lag at equal passes, in points of the worst case."""
    return least_lead([lead(slf, "DeACL", "ACL", "WC"), lead(equal, "ACL", "DeACL", "WC")], **draws)


def falls(histories: Sequence[Mapping[str, Tensor]], measure: str = "RA") -> float:
    """By how many points an accuracy ends below its best along the way, mean over the trainings."""
    curve = 100 * torch.stack([history[measure] for history in histories]).double().mean(0)
    return float(curve.max() - curve[-1])


def printed_gaps(printed: Mapping[str, float]) -> dict[str, float]:
    """By how many points each method's printed number lies above ACL's."""
    return {name: value - printed["ACL"] for name, value in printed.items() if name != "ACL"}


def passes_by_formula(steps: int, rocl_steps: int) -> dict[str, dict[str, float]]:
    """Passes of a step for each picture: forward and back in the attack, forward and back in training.

    steps: K of the inner attack; rocl_steps: RoCL's own.
    """
    rows = {
        "SimCLR": (0, 0, 2, 2),
        "RoCL": (rocl_steps + 1, rocl_steps, 3, 3),
        "ACL": (2 * steps, 2 * steps, 4, 4),
        "AdvCL": (2 * steps + 3, 2 * steps, 5, 5),
        "DeACL": (steps + 1, steps, 2, 2),
        "DynACL": (2 * steps, 2 * steps, 4, 2),
    }
    kinds = ("attack forward", "attack backward", "training forward", "training backward")
    return {name: dict(zip(kinds, row, strict=True)) for name, row in rows.items()}


def miscounted(study: SelfATStudy) -> float:
    """Largest difference of counted passes and `passes_by_formula`, over methods and kinds."""
    rocl = study.options_of(SELF_AT["RoCL"]).strength.steps
    formula = passes_by_formula(study.scale.attack_steps, rocl)
    return max(abs(count - formula[name][kind]) for name in SELF_AT for kind, count in study.passes(name).items())
