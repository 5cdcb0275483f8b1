"""The decision-based evolutionary attack on face verification (Dong et al. 2019, CVPR), all pairs side by side.

    found = evolutionary(pair_decision(model, reference, same=True), probes)                        # dodging
    found = evolutionary(pair_decision(model, reference, same=False), probes, start=other_people)   # impersonation

The attacker sees one bit per query: does the system decide wrongly? From an adversarial image far away, a (1+1)
evolution strategy with a diagonal covariance (the paper's Alg. 1) walks toward the clean image and never leaves the
adversarial side. Numbers that the paper leaves open are those of its authors' library RobFR.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.attacks.budgets import normal, norms, uniform
from lib.attacks.deepfool import pair_boundaries
from lib.attacks.guard import check_images, frozen
from lib.attacks.objectives import Objective
from lib.errors import WorkbookError
from lib.models.base import batch_size
from lib.progress import progress as shown

Decision = Callable[[Tensor], Tensor]  # images (P, C, H, W) to bool (P,): is each adversarial?


@dataclass(frozen=True)
class Evolution:
    """How long the search goes, when it reports, how it walks; the defaults are RobFR's."""

    queries: int = 10_000  # decisions per pair, the start's included
    report: tuple[int, ...] = (1000, 5000, 10_000)  # counts at which the distortion is noted

    covariance_rate: float = 0.001  # c_cov: how fast the covariance follows the path
    path_decay: float = 0.99  # 1 - c_c: memory of the evolution path
    mu: float = 0.01  # share of the way to the clean image that a query tries; adapted per pair
    sigma: float = 0.03  # length of the mutation, relative to the distance left
    window: int = 30  # queries between two updates of mu
    rate: float = 0.2  # success rate at which mu stays as it is
    grid: int = 32  # the search space is grid x grid x C, upsampled to the image
    share: int = 20  # one in `share` coordinates mutates per query
    bisections: int = 10  # from the noise start toward the clean image (dodging)
    tries: int = 100  # noise images drawn for that start, at most

    def __post_init__(self) -> None:
        """Refuse counts that are never reached."""
        if not self.bisections < self.queries or not all(0 < count <= self.queries for count in self.report):
            raise WorkbookError(
                f"More than {self.bisections} queries are needed and reports lie in 1 to {self.queries}, but "
                f"{self.queries} queries and reports at {self.report} came: raise `queries` or lower `report`."
            )


ROBFR = Evolution()


@dataclass(frozen=True, eq=False)
class Evolved:
    """What the attack reached: images (P, C, H, W) in [0,1] and their distortion."""

    images: Tensor
    found: Tensor  # (P,) whether an adversarial image was ever met
    mse: Tensor  # (P, len(report)) mean squared error to the clean image, [0,1] units; inf before anything was found
    report: tuple[int, ...]  # the query counts of the columns of `mse`
    queries: int  # asked per pair, the start included


def pair_decision(
    model: nn.Module, reference: Tensor, same: bool | Tensor, threshold: float | Tensor = 0.2, asks: int = 1
) -> Objective:
    """Whether each pair is misjudged: cosine below `threshold` where `same`, above it elsewhere (PIN, section V-C).

    `reference`: images (P, C, H, W), or their unit embeddings (P, d). A random model (PIN) draws anew in each query;
    with `asks` above one an image counts as misjudged when that many answers in a row say so.
    """
    pair = pair_boundaries(model, reference, same, threshold)

    def in_parts(x: Tensor) -> list[Tensor]:
        parts = x.split(batch_size(None, x.device))
        return [torch.cat([pair.forward(part) for part in parts]) for _ in range(asks)]

    def misjudged(answers: list[Tensor], *references: Tensor) -> Tensor:
        return torch.stack([pair.score(answer, *references).squeeze(1) > 0 for answer in answers]).all(0)

    return Objective(pair.modules, in_parts, misjudged, pair.references)


@torch.no_grad()
def evolutionary(
    decision: Decision,
    x: Tensor,
    start: Tensor | None = None,
    settings: Evolution = ROBFR,
    *,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Evolved:
    """Bring adversarial images as close to `x` (P, C, H, W) in [0,1] as `settings.queries` decisions per pair allow.

    `start`: adversarial images to come from, the other person's picture for impersonation; None for dodging: uniform
    noise, drawn until it is adversarial, then bisected toward `x`. Queries of the start count. Every query is one
    call of `decision` on all P images. A single positive answer is believed, as in the paper, so that against a random
    model the end may be judged otherwise when asked again. Pairs that are misjudged when clean should be left out.
    """
    report = torch.tensor(settings.report)
    queries = settings.queries
    search = _Search.at(decision, x, settings, generator)
    mse = torch.full((len(x), len(report)), torch.inf, dtype=x.dtype)
    with frozen(*getattr(decision, "modules", ())):
        used = search.begin(start, queries)
        turns = range(used + 1, queries + 1)
        for query in shown(turns, "evolutionary attack") if progress else turns:
            candidate = search.propose()
            search.learn(candidate, search.judge(candidate))
            if (query - used) % settings.window == 0:
                search.adapt()
            if query in settings.report:
                mse[:, report == query] = search.distortion().cpu()[:, None]
    return Evolved(search.images.to(x.device), search.found.to(x.device), mse, settings.report, queries)


@dataclass(eq=False)
class _Search:
    """P searches side by side: every state has one row per pair."""

    decision: Decision
    clean: Tensor  # (P, C, H, W)
    settings: Evolution
    generator: torch.Generator | None
    images: Tensor  # (P, C, H, W) the closest adversarial images so far
    found: Tensor  # (P,)
    mu: Tensor  # (P, 1, 1, 1)
    wins: Tensor  # (P,) accepted candidates since mu was last set
    mutation: Tensor  # (P, N) the last z of the grid, zero outside the chosen coordinates
    path: Tensor  # (P, N) p_c
    covariance: Tensor  # (P, N) the diagonal of C

    @classmethod
    def at(cls, decision: Decision, x: Tensor, settings: Evolution, generator: torch.Generator | None) -> "_Search":
        """Searches around the clean images, before their first query."""
        check_images(x, len(decision) if getattr(decision, "references", ()) else None)
        clean = x.detach().to(getattr(decision, "device", None) or x.device)
        rows = clean.new_zeros(len(x))
        flat = clean.new_zeros(len(x), x.shape[1] * settings.grid**2)
        mu = clean.new_full((len(x), 1, 1, 1), settings.mu)
        state = (clean, rows > 0, mu, rows, flat, flat.clone(), torch.ones_like(flat))
        return cls(decision, clean, settings, generator, *state)

    def judge(self, images: Tensor) -> Tensor:
        """One query per pair: (P,) bool."""
        answer = self.decision(images)
        if answer.shape != self.found.shape or answer.dtype != torch.bool:
            came = f"{tuple(answer.shape)} {answer.dtype}"
            raise WorkbookError(f"A decision gives bools ({len(images)},), but {came} came: compare with a threshold.")
        return answer

    def begin(self, start: Tensor | None, queries: int) -> int:
        """Go to the starting images; the number of queries this took."""
        if start is None:
            tries = self._noise(min(self.settings.tries, queries - self.settings.bisections))
            self._bisect()
            return tries + self.settings.bisections
        check_images(start, len(self.clean))
        if start.shape[1:] != self.clean.shape[1:]:
            shapes = f"{tuple(self.clean.shape)}, not {tuple(start.shape)}"
            raise WorkbookError(f"Starts have the shape of the clean images, {shapes}: resize them.")
        self.images = start.detach().to(self.clean)
        self.found = self.judge(self.images)
        return 1

    def _noise(self, tries: int) -> int:
        """Uniform noise, drawn again where it is not adversarial; pairs that have theirs wait for the others."""
        used = 0
        while used < tries and not self.found.all():
            noise = uniform(self.clean, self.generator)
            used = used + 1
            self.images = torch.where(self.found.view(-1, 1, 1, 1), self.images, noise)
            self.found = self.found | self.judge(self.images)
        return used

    def _bisect(self) -> None:
        near = self.clean
        for _ in range(self.settings.bisections):
            middle = (near + self.images) / 2
            answer = self.judge(middle)
            adversarial = answer.view(-1, 1, 1, 1)
            near = torch.where(adversarial, near, middle)
            self.images = torch.where(adversarial, middle, self.images)
            self.found = self.found | answer

    def propose(self) -> Tensor:
        """A candidate per pair: a mutation of the image, put on the sphere around `x` with 1 - mu of the distance."""
        settings = self.settings
        tiny = torch.finfo(self.clean.dtype).tiny
        chosen = _weighted_draw(self.covariance, max(1, self.covariance.shape[1] // settings.share), self.generator)
        spread = self.covariance.gather(1, chosen).sqrt_()
        self.mutation.zero_().scatter_(1, chosen, normal(spread, self.generator).mul_(spread))
        grid = self.mutation.view(len(self.clean), -1, settings.grid, settings.grid)
        move = F.interpolate(grid, self.clean.shape[2:], mode="bilinear")
        offset = self.images - self.clean
        distance = norms(offset)
        left = 1 - self.mu
        move.mul_(settings.sigma * distance / norms(move).clamp_min_(tiny)).addcmul_(offset, left)
        return move.mul_(left * distance / norms(move).clamp_min_(tiny)).add_(self.clean).clamp_(0, 1)

    def learn(self, candidate: Tensor, adversarial: Tensor) -> None:
        """Where the candidate is adversarial: go there, and turn path and covariance toward its mutation."""
        settings = self.settings
        self.images = torch.where(adversarial.view(-1, 1, 1, 1), candidate, self.images)
        self.found = self.found | adversarial
        accepted = adversarial.to(self.wins)
        self.wins = self.wins + accepted  # accepted: 1 moves a row, 0 leaves it
        accepted = accepted[:, None]
        fresh = (1 - settings.path_decay**2) ** 0.5
        self.path.mul_(1 - (1 - settings.path_decay) * accepted).addcmul_(self.mutation, fresh * accepted)
        rate = settings.covariance_rate * accepted
        self.covariance.mul_(1 - rate).addcmul_(self.path, self.path * rate)

    def adapt(self) -> None:
        """Bolder where more than a fifth succeeded. At most 1, which is the clean image itself (our bound)."""
        success = self.wins / self.settings.window - self.settings.rate
        self.mu = (self.mu * success.exp().view(-1, 1, 1, 1)).clamp_(max=1)
        self.wins = torch.zeros_like(self.wins)

    def distortion(self) -> Tensor:
        """Mean squared error (P,) to the clean images; infinite where nothing adversarial was met."""
        return (self.images - self.clean).square_().mean((1, 2, 3)).masked_fill_(~self.found, torch.inf)


def _weighted_draw(weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` distinct columns (P, count) of each row of `weights` (P, N), drawn one after another in proportion.

    An exponential race: with rates `weights`, the first arrivals are exactly such a draw (Efraimidis and Spirakis).
    """
    arrival = uniform(weights, generator).neg_().log1p_().neg_().div_(weights)
    return arrival.topk(count, largest=False).indices
