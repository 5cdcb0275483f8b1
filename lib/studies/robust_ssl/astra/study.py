"""The trainings of page 19: ASTrA and its parts, what it should beat for as many passes, and its attack elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from lib.book.run import Run, per_profile
from lib.errors import WorkbookError, choices
from lib.studies.robust_ssl.adversarial.dynacl import DynACL
from lib.studies.robust_ssl.adversarial.methods import ACL, SelfAdversarial
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.robustness import right_by_steps, rights_under
from lib.studies.robust_ssl.adversarial.rocl import RoCL
from lib.studies.robust_ssl.adversarial.study import LABEL_SHARES, SECONDS, SELF_AT_SIZES, SelfATStudy
from lib.studies.robust_ssl.adversarial.training import SelfATPlan
from lib.studies.robust_ssl.astra.measures import action_rewards, chosen, earned, gradient_draws
from lib.studies.robust_ssl.astra.plugged import DynACLLearnt, RoCLLearnt
from lib.studies.robust_ssl.astra.reward import Weights
from lib.studies.robust_ssl.astra.strategy import Ranges
from lib.studies.robust_ssl.astra.training import (
    ASTrA,
    Strategy,
    StrategyAlone,
    cost_of_iterations,
    step_cost,
    train_alone,
    train_with_strategy,
)
from lib.training.loop import Trained

# Rows for `run.scale`, beside those that page 18 has too. The ranges of the actions are the release's from laptop on.
# The strategy's rate: released 0.1 for 8800 steps; ten times that for the 150 that the laptop's trainings leave it.
ASTRA_SIZES = {
    "budgets": per_profile([4, 8, 15], *3 * [list(range(3, 16))]),
    "iterations": per_profile([1, 2], *3 * [list(range(3, 15))]),
    "step_sizes": per_profile([1, 3], *3 * [list(range(1, 6))]),
    "attacked": per_profile(6, 2000, 4000, 10_000),  # more than page 18's: "as well" is asked within two points
    "interval": per_profile(1, 4, 10, 10),
    "strategy_rate": per_profile(1.0, 1.0, 1.0, 0.1),
    "candidates": per_profile([8], [4, 8, 12, 15], [4, 8, 12, 15], [4, 6, 8, 10, 12, 15]),
    "candidate_steps": per_profile(1, 300, 1500, 8800),
    "alone_steps": per_profile(2, 150, 300, 1000),
    "alone_batch": per_profile(4, 32, 256, 512),
    "alone_rate": per_profile(1.0, 1.0, 1.0, 1.0),
    "draws": per_profile(3, 40, 100, 100),
    "drawn": per_profile(4, 64, 256, 512),
    "shown": per_profile(6, 500, 2000, 2000),
    "order_seeds": per_profile([0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]),
}
PARTS = {  # as many steps for each: the source's ablation; "ACL" itself is page 18's
    "ACL + mixed": ("fixed", 0.5),
    "ACL + adaptive": ("learnt", 0.0),
    "ASTrA": ("learnt", 0.5),
}
CONTROLS = ("uniform", "fixed", "annealed")  # as many passes as ASTrA, the mixed loss with all
CLOSE = (ACL.name, "ASTrA", "uniform", "fixed")  # a verdict of "as well" stands on these: more trainings
MENDED = "mended"  # ours: each view paid for itself less a baseline, and no shared seed
PLUGGED: dict[str, tuple[type[SelfAdversarial], type[SelfAdversarial]]] = {
    "RoCL": (RoCL, RoCLLearnt),
    "DynACL": (DynACL, DynACLLearnt),
}
ALONE = {  # what the reward asks for on an encoder that stays: weight of the similarity, and credit
    "released": (0.0, "batch"),
    "released, r1 = 1": (1.0, "batch"),
    "mended": (0.0, "view with baseline"),
    "mended, r1 = 1": (1.0, "view with baseline"),
    "paid a constant": (0.0, "constant"),  # what noise alone does
}
EARNING = ("released", "mended", "paid a constant")  # of `ALONE`: what each has learned is judged by its reward
FEW_LABELS = ("ASTrA", ACL.name)
OF_FACES = ("faces", "people", "expressions", "face_steps")  # rows of page 18's table that this page has no use for

JUDGED = 2000  # forward passes, or as much, that AutoAttack needs for a picture, roughly: most fall to its first attack


@dataclass(frozen=True)
class AskedArm:
    """A training of the page: which arm, from which seed."""

    arm: str
    seed: int = 0


class StrategyStudy(SelfATStudy):
    """The trainings of page 19, beside those of page 18 that it compares with, each done once and kept."""

    @property
    def ranges(self) -> Ranges:
        """What a strategy chooses among at this scale."""
        s = self.scale
        return Ranges(tuple(s.budgets), tuple(s.iterations), tuple(s.step_sizes))

    @property
    def usual(self) -> tuple[float, float, float]:
        """ACL's attack: budget and step size in 1/255, iterations between."""
        return 8, self.scale.attack_steps, 2

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that is judged: ACL of page 18, the parts, the controls, ours."""
        return (ACL.name, *PARTS, *CONTROLS, MENDED)

    def seeds_of_arm(self, arm: str) -> list[int]:
        """The seeds that an arm is trained from: `order_seeds` for those of `CLOSE`, one for what no verdict needs."""
        if arm == "annealed":
            return self.scale.seeds[:1]
        return self.scale.order_seeds if arm in CLOSE else self.scale.seeds

    def strategy(self, policy: str = "learnt", **changes: object) -> Strategy:
        """A strategy at this scale."""
        s = self.scale
        size = {"width": s.width, "stem": s.stem}
        given = Strategy(policy, self.ranges, self.usual, every=s.interval, rate=s.strategy_rate, **size)
        return replace(given, **changes)

    def arm_plan(self, arm: str) -> SelfATPlan:
        """What an arm trains: `PARTS`, `CONTROLS`, "mended", or a method of `PLUGGED` + ASTrA."""
        if arm in PARTS:
            policy, mixed = PARTS[arm]
            return self.astra(self.strategy(policy), mixed)
        if arm in CONTROLS:
            own = self.strategy(arm, action=self.best_fixed) if arm == "fixed" else self.strategy(arm)
            return self.astra(own)
        if arm == MENDED:
            return self.astra(self.strategy(credit="view with baseline", shared_seed=False))
        for name, (_, kind) in PLUGGED.items():
            if arm == f"{name} + ASTrA":
                return self.plan_of_method(kind, options=kind.Options(learnt=self.strategy()))
        known = [*PARTS, *CONTROLS, MENDED, *(f"{name} + ASTrA" for name in PLUGGED)]
        raise WorkbookError(f"This page trains {choices(known)}, not '{arm}': choose one.")

    def astra(self, learnt: Strategy, mixed: float = 0.5) -> SelfATPlan:
        """ASTrA's plan under a strategy."""
        return self.plan_of_method(ASTrA, options=ASTrA.Options(learnt=learnt, mixed=mixed))

    def arm_cost(self, arm: str) -> float:
        """Forward-equivalents of a step for each picture, all actions as likely where they are not fixed."""
        learnt = self.arm_plan(arm).options.learnt
        counts = torch.tensor(self.ranges.steps)
        if learnt.policy in ("fixed", "annealed"):
            counts = counts[self.ranges.nearest(*learnt.action)[1]].reshape(1)
        return step_cost(counts, learnt)

    def arm_steps(self, arm: str) -> int:
        """Steps of an arm: of `CONTROLS` as many as cost what ASTrA's trainings have cost."""
        if arm not in CONTROLS:
            return self.scale.steps
        taken = sum(self.passes_along("ASTrA", seed) for seed in self.scale.seeds) / len(self.scale.seeds)
        return max(1, round(taken / self.arm_cost(arm)))

    def passes_along(self, arm: str, seed: int = 0) -> float:
        """Forward-equivalents of a whole training for each picture of a batch, by the iterations that were drawn.

        ACL: of page 18, by counted passes.
        """
        if arm == ACL.name:
            return self.steps_of(arm) * self.costs[arm]
        learnt = self.arm_plan(arm).options.learnt
        if learnt.policy in ("fixed", "annealed"):
            return self.arm_steps(arm) * self.arm_cost(arm)
        drawn = self.arm(arm, seed)["history"]["mean steps"].double().mean()
        more = drawn - torch.tensor(self.ranges.steps).double().mean()
        return self.arm_steps(arm) * (self.arm_cost(arm) + cost_of_iterations(float(more), learnt))

    def arm(self, arm: str, seed: int = 0) -> Trained:
        """The training of an arm, read once in a session; ACL and plain methods of `PLUGGED` are page 18's."""
        if arm == ACL.name or arm in PLUGGED:
            return self.self_at(arm, seed)
        asked = AskedArm(arm, seed)
        if asked not in self.read:
            self.read[asked] = self.with_strategy(self.arm_plan(arm), self.arm_steps(arm), seed)
        return self.read[asked]

    def with_strategy(self, plan: SelfATPlan, steps: int, seed: int = 0) -> Trained:
        """A training of so many steps, kept, with the weights of its strategy network."""
        recipe = self.recipe_of(plan.method.name, steps, seed)
        return self.trained_anywhere(train_with_strategy, self.pretraining(), plan, recipe, self.watch_robust())

    @cached_property
    def candidate_accuracies(self) -> dict[int, float]:
        """Worst case on held-out pictures after SLF of short trainings under each of the `candidates` (in 1/255)."""
        images, labels = self.objects.part("held", self.scale.attacked)
        judges = replace(self.judges, autoattacked=0)
        models = []
        for eps in self.scale.candidates:
            plan = self.astra(self.strategy("fixed", action=(eps, *self.usual[1:])))
            models.append(self.linear(self.loaded(ACL, self.with_strategy(plan, self.scale.candidate_steps))))
        right = self.for_each(rights_under, models, images, labels, judges)["WC"]
        return dict(zip(self.scale.candidates, right.double().mean(1).tolist(), strict=True))

    @property
    def best_fixed(self) -> tuple[float, float, float]:
        """The candidate of the best robust accuracy on held-out pictures, the weakest of equals."""
        found = self.candidate_accuracies
        return (max(found, key=lambda eps: (found[eps], -eps)), *self.usual[1:])

    def arm_network(self, arm: str, seed: int = 0) -> RoutedNetwork:
        """The network of an arm with its projector, frozen, on the run's device."""
        model = self.arm_plan(arm).model(seed)
        model.load_state_dict(self.arm(arm, seed)["network"])
        return model.to(self.run.device).eval().requires_grad_(False)

    def arm_strategy(self, arm: str = "ASTrA", seed: int = 0, new: bool = False) -> nn.Module:
        """The strategy network of an arm after its training, or as it began."""
        found = self.arm_plan(arm).options.learnt.network()
        found.load_state_dict(self.arm(arm, seed)["begun" if new else "strategy"])
        return found.to(self.run.device).eval().requires_grad_(False)

    def classifiers(self, arm: str) -> list[nn.Module]:
        """SLF of an arm, one classifier a seed."""
        kind = {**{name: kinds[0] for name, kinds in PLUGGED.items()}, ACL.name: ACL}.get(arm)
        kind = kind or self.arm_plan(arm).method
        return [self.linear(self.loaded(kind, self.arm(arm, seed), seed)) for seed in self.seeds_of_arm(arm)]

    def judged_arm(self, arm: str) -> dict[str, Tensor]:
        """Which test pictures an arm's classifiers name rightly: `rights_under`, stacked over the seeds.

        The controls, which no printed number stands beside, go without AutoAttack: m = 0.
        """
        return self.judged_robust(self.classifiers(arm), official=arm not in (*CONTROLS, MENDED))

    def judged_few(self, arm: str, share: float) -> dict[str, Tensor]:
        """SA and RA of ACL or an arm of `PARTS` with that share of the labels, which each seed draws anew."""
        models = [
            self.few_labels(self.loaded(ACL, self.arm(arm, seed), seed), share, seed) for seed in self.scale.seeds
        ]
        return self.judged_robust(models, quick=True)

    def views_of(self, pictures: int, part: str = "held", seed: int = 0) -> Tensor:
        """Two views (2 pictures, 3, S, S) of the first pictures of a part, the first ones first."""
        x = self.objects.part(part, pictures)[0]
        draw = torch.Generator().manual_seed(seed)
        views = ASTrA.Options().views
        return torch.cat([views(x, draw), views(x, draw)]).to(self.run.device)

    def drawn_gradients(self, new: bool = True, seed: int = 0) -> dict[str, Tensor]:
        """`gradient_draws` on a trained encoder under its strategy as it began (or as it ended)."""
        views = self.views_of(self.scale.drawn, seed=seed)
        network, strategy = self.arm_network("ASTrA", seed), self.arm_strategy("ASTrA", seed, new)
        return self.run.kept(gradient_draws, network, strategy, views, self.ranges, self.scale.draws, seed)

    def losses_of_actions(self, seed: int = 0) -> dict[str, Tensor]:
        """`action_rewards` of the encoder that ASTrA trained."""
        views = self.views_of(self.scale.drawn // 2, seed=seed)
        return self.run.kept(action_rewards, self.arm_network("ASTrA", seed), views, self.ranges)

    def preferred(self, arm: str = "ASTrA", new: bool = False) -> dict[str, Tensor]:
        """`chosen` of an arm's strategies, stacked over the seeds."""
        views = self.views_of(self.scale.shown)
        found = [
            self.run.kept(chosen, self.arm_network(arm, s), self.arm_strategy(arm, s, new), views, self.ranges)
            for s in self.scale.seeds
        ]
        return {name: torch.stack([part[name] for part in found]) for name in found[0]}

    def alone(self, name: str, seed: int = 0) -> Trained:
        """A strategy of `ALONE` that learns on ASTrA's trained encoder, which stays."""
        if name not in ALONE:
            raise WorkbookError(f"Strategies learn alone as {choices(list(ALONE))}, not as '{name}': choose one.")
        s, (similarity, credit) = self.scale, ALONE[name]
        shared = credit != "view with baseline"
        learnt = self.strategy(
            credit=credit, weights=Weights(similarity), shared_seed=shared, every=1, rate=s.alone_rate
        )
        plan = self.plan_of_method(StrategyAlone, options=ASTrA.Options(learnt=learnt))
        recipe = self.recipe(s.alone_steps, s.alone_batch, self.tuned_rate(ACL.name), seed=seed, schedule="constant")
        return self.trained_anywhere(train_alone, self.arm_network("ASTrA", seed), self.pretraining(), plan, recipe)

    def earned_by(self, arm: str = "ASTrA", new: bool = False) -> dict[str, Tensor]:
        """`earned` on held-out views by an arm's strategies, as they ended or as they began, stacked over the seeds."""
        strategies = {seed: self.arm_strategy(arm, seed, new) for seed in self.scale.seeds}
        return self.earnings(arm, strategies)

    def earned_alone(self, name: str) -> dict[str, Tensor]:
        """The same by the strategies of `ALONE`, on the encoders that they have learned on."""
        strategies = {}
        for seed in self.scale.seeds:
            strategies[seed] = self.arm_strategy("ASTrA", seed)
            strategies[seed].load_state_dict(self.alone(name, seed)["strategy"])
        return self.earnings("ASTrA", strategies)

    def earnings(self, arm: str, strategies: dict[int, nn.Module]) -> dict[str, Tensor]:
        """`earned` by a strategy for each seed on an arm's encoders, stacked."""
        views = self.views_of(self.scale.shown)
        found = [
            self.run.kept(earned, self.arm_network(arm, seed), strategy, views, self.ranges)
            for seed, strategy in strategies.items()
        ]
        return {key: torch.stack([part[key] for part in found]) for key in found[0]}

    def judged_untrained(self) -> dict[str, Tensor]:
        """`judged_arm` of encoders that were not trained."""
        encoders = [self.robust_encoder("untrained", seed) for seed in self.scale.order_seeds]
        return self.judged_robust([self.linear(encoder) for encoder in encoders], official=False)

    def judged_tuned(self, arm: str) -> dict[str, Tensor]:
        """`judged_arm` after AFF of ACL or of an arm of `PARTS`."""
        return self.judged_robust([self.tuned_arm(arm, seed) for seed in self.scale.seeds])

    def arm_by_steps(self, arm: str, seed: int = 0) -> Tensor:
        """`by_steps` of an arm: (goals, lengths, n) bool."""
        images, labels = self.objects.part("test", self.scale.watched)
        model = self.linear(self.loaded(ACL, self.arm(arm, seed), seed))
        return self.run.kept(right_by_steps, model, images, labels, self.lengths)

    def plan(self) -> dict[str, Callable[[], object]]:
        """Every training of page 19 by name, those that a verdict needs first; page 18's are in its own plan."""
        jobs: dict[str, Callable[[], object]] = {}
        for seed in self.scale.seeds:
            for arm in PARTS:
                jobs[f"ASTrA {arm} {seed}"] = partial(self.arm, arm, seed)
        jobs["ASTrA candidates"] = lambda: self.candidate_accuracies
        for seed in self.scale.seeds:
            for arm in (*CONTROLS, MENDED):
                if seed in self.seeds_of_arm(arm):
                    jobs[f"ASTrA control {arm} {seed}"] = partial(self.arm, arm, seed)
        for arm in (ACL.name, *PARTS, *CONTROLS):
            for seed in self.seeds_of_arm(arm)[len(self.scale.seeds) :]:
                jobs[f"ASTrA more {arm} {seed}"] = partial(self.arm, arm, seed)
        for seed in self.scale.seeds:
            for name in PLUGGED:
                jobs[f"ASTrA in {name} {seed}"] = partial(self.arm, f"{name} + ASTrA", seed)
        for seed in self.scale.seeds:
            for name in ALONE:
                jobs[f"ASTrA alone {name} {seed}"] = partial(self.alone, name, seed)
        for seed in self.scale.seeds:
            for arm in PARTS:
                jobs[f"ASTrA AFF {arm} {seed}"] = partial(self.tuned_arm, arm, seed)
        return jobs | self.judgements()

    def judgements(self) -> dict[str, Callable[[], object]]:
        """The costly part of judging, by name."""
        jobs: dict[str, Callable[[], object]] = {}
        for arm in (*self.arms, *PLUGGED, *(f"{name} + ASTrA" for name in PLUGGED)):
            jobs[f"ASTrA judged {arm}"] = partial(self.judged_arm, arm)
        for arm in (ACL.name, *PARTS):
            jobs[f"ASTrA judged AFF {arm}"] = partial(self.judged_tuned, arm)
        for arm in FEW_LABELS:
            for share in LABEL_SHARES:
                jobs[f"ASTrA judged with {share:.0%} of the labels {arm}"] = partial(self.judged_few, arm, share)
        jobs["ASTrA judged untrained"] = self.judged_untrained
        for arm in ("ASTrA", MENDED):
            jobs[f"ASTrA earned by {arm}"] = partial(self.earned_by, arm)
        for name in EARNING:
            jobs[f"ASTrA earned alone {name}"] = partial(self.earned_alone, name)
        return jobs

    def minutes_of(self, name: str) -> float:
        """Estimated processor minutes of a training of the plan, from counted passes of a laptop's network.

        The best fixed strength counts as ACL's, so that nothing is trained for an estimate.
        """
        s, word = self.scale, name.split(" ", 1)[1]
        full = self.arm_cost("ASTrA")
        if word == "candidates":
            passes = len(s.candidates) * s.candidate_steps * self.arm_cost("annealed") * s.batch
        elif word.startswith("alone"):
            passes = s.alone_steps * (2 * full - self.arm_cost("uniform")) * s.alone_batch
        elif word.startswith("AFF"):
            passes = s.tune_steps * (2 * self.tuning_steps + 7) * s.batch
        elif word.startswith("earned"):
            passes = 4 * 2 * s.shown * (2 * sum(s.iterations) / len(s.iterations) + 2) * len(s.seeds)
        elif word.startswith("judged"):
            arm = word.split(" ", 1)[1]
            few = 0 if arm in (*CONTROLS, MENDED, "untrained") or "labels" in word else JUDGED * s.autoattacked
            steps = s.pgd_steps if "labels" in word else 3 * s.pgd_steps  # PGD, and twice as many on the margin
            passes = (2 * steps * s.attacked + few) * len(self.seeds_of_arm(arm))
        else:
            cost = self.arm_cost("ACL + mixed") if "ACL + mixed" in word or "more ACL" in word else full
            passes = s.steps * cost * s.batch
        return passes * SECONDS / 60

    def tuned_arm(self, arm: str, seed: int = 0) -> nn.Module:
        """AFF of an arm of `PARTS` or of ACL: all weights tuned by TRADES."""
        return self.tuned_classifier(self.loaded(ACL, self.arm(arm, seed), seed), "AFF", seed)


def strategy_study_for(run: Run, **knobs: dict[str, object]) -> StrategyStudy:
    """The study at the run's scale, with its table and the page's own knobs shown."""
    shared = {name: sizes for name, sizes in SELF_AT_SIZES.items() if name not in OF_FACES}
    return StrategyStudy(run, run.scale(**{**shared, **ASTRA_SIZES}, **knobs))
