"""`python -m benchmarks [--device D] [--repeats N] [--batch N]`: prints each ratio, its target, pass or fail.

The attacks on MobileFaceNet, then PIN's defence at its own sizes: 112x112 pixels, 2500 eigenvectors, 30 masks a face;
then ACL-triplet's inner attack at a laptop's size: a ResNet-18 of width 16, 32 triplets of 56x56 pixels; then a
training step of TRADES-ANCRA; then a stage of DAR-SFRL's restoration and its interpolated negatives; last random views,
corruptions, conformal views, a step of joint embedding, and steps of self-adversarial training, ASTrA's among them.
Both sides of a ratio run in turn, in changing order, so that a slow spell of the machine hits both; the ratio is the
median over the rounds, and the spread shows how noisy the machine was. On a CPU the clock is the processor time of one
thread, which other work on the machine disturbs least; on CUDA it is wall time with the queue emptied.
"""

import argparse
import sys
from dataclasses import dataclass, field

import torch
import torchattacks
from torch import Tensor, nn

from benchmarks.ancra_training import training_ratios
from benchmarks.astra import astra_ratios
from benchmarks.dar import dar_ratios
from benchmarks.joint_embedding import joint_embedding_ratios
from benchmarks.self_adversarial import self_adversarial_ratios
from benchmarks.timing import measure, report, smooth_images
from benchmarks.views import view_ratios
from benchmarks.warps import warp_ratios
from lib.attacks import (
    PGD,
    Evolution,
    Linf,
    PairLogits,
    ascend,
    class_boundaries,
    deepfool,
    evolutionary,
    frozen,
    pair_boundaries,
    pair_decision,
    triplet,
    verification,
)
from lib.attacks.embeddings import DISTANCES
from lib.book.run import choose_device
from lib.defences import Basis
from lib.defences.pca import coefficients
from lib.errors import WorkbookError
from lib.models import GrayInput, Recogniser, load_recogniser, to_gray
from lib.models.dual_norm import DualBatchNorm2d
from lib.models.encoders import FaceEncoder
from lib.seeds import seeded
from lib.studies.acl_triplet.finetuning import TripletFineTuning
from lib.studies.pin.learnable_pca import LearnablePCA
from lib.studies.pin.selection import reward, weights_of

STEPS = 10
FACES, MASKS, PENALTY = 20, 30, 0.015  # a training step of PIN
TRIPLETS, TURNS = 32, 7  # of ACL-triplet's fine-tuning: people in a step here, iterations of its attack


@dataclass(frozen=True)
class Case:
    """A recogniser and pairs on one device: probes (n, C, H, W), reference embeddings (n, d), same (n,)."""

    model: Recogniser
    probes: Tensor
    reference: Tensor
    same: Tensor
    threshold: Tensor = field(init=False)  # (n,) 0.05 away on the far side, so that every pair has a way to go

    def __post_init__(self) -> None:
        """Set the thresholds from the clean cosines."""
        with torch.no_grad():
            cosine = (self.model.embed(self.probes) * self.reference).sum(1)
        object.__setattr__(self, "threshold", cosine + torch.where(self.same, -0.05, 0.05))


def make_case(model: Recogniser, n: int, device: str) -> Case:
    """Pairs of smooth random pictures: speed does not ask who is on them."""
    images = smooth_images(2 * n, model.size, device)
    with torch.no_grad():
        reference = model.embed(images[n:])
    return Case(model, images[:n], reference, torch.arange(n, device=device) % 2 == 0)


def our_pgd(case: Case) -> Tensor:
    """PGD-10 of the one loop."""
    return ascend(verification(case.model, case.reference, case.same), case.probes, Linf("8/255"), PGD.but(steps=STEPS))


def bare_passes(case: Case) -> None:
    """Ten forward and input-gradient passes, with nothing around them."""
    with frozen(case.model):
        for _ in range(STEPS):
            leaf = case.probes.detach().requires_grad_()
            torch.autograd.grad((case.model.embed(leaf) * case.reference).sum(), leaf)


def their_pgd(case: Case) -> Tensor:
    """torchattacks' PGD-10 through the adapter."""
    pairs = PairLogits(case.model, case.probes, case.reference, classes=2)
    return torchattacks.PGD(pairs, steps=STEPS)(case.probes, case.same.long())


def our_deepfool(case: Case) -> Tensor:
    """Batched DeepFool on the pairs' one boundary."""
    return deepfool(pair_boundaries(case.model, case.reference, case.same, case.threshold), case.probes)


def their_deepfool(case: Case) -> Tensor:
    """torchattacks' image-by-image DeepFool through the adapter as it comes, with its 4 logits."""
    pairs = PairLogits(case.model, case.probes, case.reference, threshold=case.threshold)
    return torchattacks.DeepFool(pairs)(case.probes, case.same.long())


def small_classifier(device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """An untrained 10-class CNN on 32x32 images, 64 images, and the labels it gives them."""
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GELU()) for a, b in ((3, 32), (32, 64), (64, 64))
    ]
    model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(1024, 10)).to(device)
    images = torch.rand(64, 3, 32, 32, device=device)
    return model, images, model(images).argmax(1)


@dataclass(frozen=True)
class Choice:
    """What a training step of PIN judges: gray faces clean and noisy (n, 1, 112, 112), masks (k, n, N), a basis."""

    basis: Basis
    clean: Tensor
    noisy: Tensor
    masks: Tensor


def make_choice(images: Tensor) -> Choice:
    """Gray images (n, 1, 112, 112) on 50 x 50 cosines, which are orthonormal at once; random noise and masks."""
    steps = torch.arange(112, dtype=torch.float64)
    cosines = torch.cos(torch.pi / 112 * (steps[:, None] + 0.5) * steps[:50])
    cosines /= cosines.norm(dim=0)
    vectors = torch.kron(cosines, cosines).float().to(images.device)
    basis = Basis(vectors, images.flatten(1).mean(0), torch.ones(2500, device=images.device))
    draw = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(images.shape, generator=draw)
    masks = torch.bernoulli(torch.full((MASKS, len(images), 2500), 0.5), generator=draw)
    return Choice(basis, images, images + noise.to(images.device), masks.to(images.device))


def our_rewards(choice: Choice) -> Tensor:
    """Rewards (k, n) in coefficient space, the two projections included."""
    noisy, clean = coefficients(torch.cat([choice.noisy, choice.clean]), choice.basis).chunk(2)
    weights = weights_of(noisy, clean)
    energy = (choice.clean.flatten(1) - choice.basis.mean).square().sum(1)
    return reward(choice.masks, weights, energy, PENALTY)


def dense_rewards(choice: Choice, image: int = 0) -> Tensor:
    """Rewards (k,) of one image as PIN's eq. 3 has them: for each mask its own matrix B_q, an image, a distance."""
    noisy, clean = (part[image].flatten() - choice.basis.mean for part in (choice.noisy, choice.clean))
    rewards = []
    for mask in choice.masks[:, image]:
        chosen = choice.basis.vectors * mask
        rewards.append(-(chosen @ (chosen.T @ noisy) - clean).norm() - PENALTY * mask.sum())
    return torch.stack(rewards)


def make_encoder(device: str) -> FaceEncoder:
    """An untrained encoder as the pages train it, with settled batch statistics."""
    with seeded(0):
        model = FaceEncoder((56, 56), width=16, norm=DualBatchNorm2d).to(device, memory_format=torch.channels_last)
    with torch.no_grad():
        for _ in range(20):
            model.embed(smooth_images(TRIPLETS, model.size, device))
    return model.eval()


def our_triplet_attack(model: nn.Module, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Positives and negatives are embedded once; seven iterations on the anchors alone."""
    return ascend(triplet(model, positive, negative), anchor, Linf("8/255"), PGD.but(steps=TURNS, start="clean"))


def naive_triplet_attack(model: nn.Module, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The same attack with all three pictures in one batch, forward and back, at each iteration."""
    apart, moved = DISTANCES["l2"], anchor
    with frozen(model):
        for _ in range(TURNS):
            leaf = moved.detach().requires_grad_()
            a, p, n = model.embed(torch.cat([leaf, positive, negative])).chunk(3)
            (gradient,) = torch.autograd.grad((apart(a, p) - apart(a, n)).sum(), leaf)
            moved = moved + 2 / 255 * gradient.sign()
            moved = (anchor + (moved - anchor).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    return moved


def step_passes(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Images per person that one step of `TripletFineTuning` passes, two of `images` (2n, C, H, W) being a person's."""
    people, seen = len(images) // 2, dict.fromkeys(("references", "anchors", "anchors back", "training", "back"), 0)

    def count(module: nn.Module, _: object, embeddings: Tensor) -> None:
        kind = "training" if module.training else "anchors" if embeddings.requires_grad else "references"
        seen[kind] += len(embeddings)
        if embeddings.requires_grad:
            back = "back" if module.training else "anchors back"
            embeddings.register_hook(lambda gradient: seen.__setitem__(back, seen[back] + len(gradient)))

    hook = model.train().register_forward_hook(count)
    loss = TripletFineTuning(images.cpu(), torch.arange(people).repeat(2), steps=TURNS)
    loss(model, torch.arange(people), torch.Generator().manual_seed(0))["loss"].backward()
    hook.remove()
    model.eval().zero_grad()
    return {kind: number / people for kind, number in seen.items()}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed ratios of attacks and defences.")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--repeats", type=int, default=21, help="rounds of the PGD ratios")
    parser.add_argument("--batch", type=int, default=8, help="pairs in the PGD ratios (DeepFool always takes 64)")
    options = parser.parse_args()
    options.device = choose_device(options.device).type
    return options


def pgd_ratios(case: Case, rounds: int, device: str) -> list[bool]:
    """Our PGD-10 against bare passes and against torchattacks."""
    bare_passes(case)  # warm-up
    works = {"ours": lambda: our_pgd(case), "bare": lambda: bare_passes(case), "theirs": lambda: their_pgd(case)}
    times, title = measure(works, rounds, device), f"PGD-{STEPS} on {len(case.probes)} pairs"
    return [
        report(f"{title} / {STEPS} bare forward + input-gradient passes", times["ours"], times["bare"],
               "at most 1.05", lambda ratio: ratio <= 1.05),
        report(f"{title} / torchattacks' PGD-{STEPS} through the adapter", times["ours"], times["theirs"],
               "below 1", lambda ratio: ratio < 1),
    ]  # fmt: skip


def deepfool_ratios(case: Case, rounds: int, device: str) -> list[bool]:
    """torchattacks' image-by-image DeepFool against ours, on pairs and on a small classifier."""
    model, images, labels = small_classifier(device)
    title, goal = "torchattacks' DeepFool image by image / ours", 20 if device == "cuda" else 2
    pairs = measure({"ours": lambda: our_deepfool(case), "theirs": lambda: their_deepfool(case)}, rounds, device)
    works = {
        "ours": lambda: deepfool(class_boundaries(model, labels), images, steps=10),
        "theirs": lambda: torchattacks.DeepFool(model, steps=10)(images, labels),
    }
    classes = measure(works, rounds, device)
    return [
        report(f"{title}, {kind}", times["theirs"], times["ours"], f"at least {goal}", lambda ratio: ratio >= goal)
        for kind, times in (("64 pairs", pairs), ("64 images of 10 classes", classes))
    ]


def evolutionary_ratio(case: Case, rounds: int, device: str) -> list[bool]:
    """The evolutionary attack where a decision costs nothing, against the decisions of a recogniser, on gray pairs."""
    images, start = to_gray(case.probes), to_gray(case.probes).flip(0)
    decision = pair_decision(GrayInput(case.model), case.reference, case.same)
    flags = torch.arange(len(images), device=device) % 5 == 0  # a fifth succeeds: the rate at which mu stays

    @torch.no_grad()
    def queries() -> None:
        with frozen(case.model):
            for _ in range(STEPS):
                decision(images)

    queries()  # warm-up
    search = Evolution(queries=STEPS + 1, report=())
    own = {"own": lambda: evolutionary(lambda _: flags, images, start, search), "queries": queries}
    times = measure(own, rounds, device)
    title = f"Evolutionary attack's own work on {len(images)} pairs / its model queries"
    return [report(title, times["own"], times["queries"], "at most 0.2", lambda ratio: ratio <= 0.2)]


def reward_ratio(choice: Choice, rounds: int, device: str) -> list[bool]:
    """The dense reward against the one in coefficient space. The dense side runs on one face and counts for all."""
    gap = (dense_rewards(choice) - our_rewards(choice)[:, 0]).abs().max().item()  # also the warm-up
    times = measure({"ours": lambda: our_rewards(choice), "dense": lambda: dense_rewards(choice)}, rounds, device)
    dense = [len(choice.clean) * one for one in times["dense"]]
    title = f"Dense reward (1 of {len(choice.clean)} faces, scaled) / coefficient-space, {MASKS} masks"
    verdict = report(title, dense, times["ours"], "at least 300", lambda ratio: ratio >= 300)
    print(f"The two rewards differ by at most {gap:.1e}.")
    return [verdict]


@torch.no_grad()
def inactivation_ratio(case: Case, basis: Basis, rounds: int, device: str) -> list[bool]:
    """PIN's projection on freshly drawn masks, its agent left out, against the recogniser behind it."""
    images, model = to_gray(case.probes), GrayInput(case.model)
    logits = torch.zeros(len(images), len(basis), device=images.device)
    defence = LearnablePCA(basis, lambda _: logits)
    works = {"defence": lambda: defence(images), "recogniser": lambda: model(images)}
    for work in works.values():
        work()  # warm-up
    times, title = measure(works, rounds, device), f"Inactivating {len(images)} faces / recognising them"
    return [report(title, times["defence"], times["recogniser"], "at most 0.25", lambda ratio: ratio <= 0.25)]


def triplet_attack_ratio(rounds: int, device: str) -> list[bool]:
    """ACL-triplet's inner attack against one that embeds positives and negatives anew, and the passes of a step."""
    model = make_encoder(device)
    faces = smooth_images(3 * TRIPLETS, model.size, device).chunk(3)
    works = {"ours": lambda: our_triplet_attack(model, *faces), "naive": lambda: naive_triplet_attack(model, *faces)}
    ours, naive = (work() for work in works.values())  # also the warm-up
    times, title = measure(works, rounds, device), f"Triplet attack on {TRIPLETS} anchors / embedding all three anew"
    verdict = report(title, times["ours"], times["naive"], "at most 0.45", lambda ratio: ratio <= 0.45)
    apart = ((ours - naive).abs() > 1e-6).float().mean().item()
    print(f"Rounding turns signs: the two triplet attacks end apart in {apart:.1e} of the pixels.")
    passes = step_passes(model, torch.cat(faces[:2]))
    exact = passes == {"references": 2, "anchors": TURNS, "anchors back": TURNS, "training": 4, "back": 4}
    counted = ", ".join(f"{kind} {number:g}" for kind, number in passes.items())
    print(f"Passes of a fine-tuning step, in images a person: {counted}: {'pass' if exact else 'FAIL'}")
    return [verdict, exact]


def main() -> int:
    """Measure the ratios; 1 when one misses its target."""
    options = arguments()
    device = options.device
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, torchattacks {torchattacks.__version__}, {device}, MobileFaceNet 112x112")
    model = load_recogniser("mobilefacenet", device)
    few, many = make_case(model, options.batch, device), make_case(model, 64, device)
    results = pgd_ratios(few, options.repeats, device) + deepfool_ratios(many, 2, device)
    results += evolutionary_ratio(many, 5, device)
    choice = make_choice(to_gray(many.probes[:FACES]))
    results += reward_ratio(choice, 5, device) + inactivation_ratio(many, choice.basis, 9, device)
    results += triplet_attack_ratio(9, device) + training_ratios(9, device) + dar_ratios(9, device)
    results += view_ratios(9, device) + warp_ratios(9, device) + joint_embedding_ratios(9, device)
    results += self_adversarial_ratios(9, device) + astra_ratios(9, device)
    ours, theirs = our_deepfool(few), their_deepfool(few)
    apart = ((ours - theirs).norm() / (ours - few.probes).norm()).item()
    print(f"The two DeepFools' perturbations differ by {apart:.1e} of their length.")
    return 0 if all(results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WorkbookError as error:
        sys.exit(f"{type(error).__name__}: {error}")
