"""The one list of named attacks: what each is called, what it attacks, what its attacker knows, how it is run.

    images = named_attack("PGD", "recogniser")(model, pairs, Intensity(0.04), seed=0)
    for attack in attacks_on("classifier"): ...

The core's attacks are in `lib.attacks.named`; a study adds those of its source with `register`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from lib.attacks.budgets import Budget
from lib.data.examples import Examples
from lib.errors import WorkbookError, choices

KINDS = ("recogniser", "classifier")  # of systems: judged on `ImagePairs` and on `LabelledImages`
KNOWLEDGE = ("white box", "adaptive", "transfer", "black box")  # adaptive: white box, made for one kind of defence
Perturb = Callable[..., Tensor]  # (model, examples, budget, seed) to attacked images


@dataclass(frozen=True)
class NamedAttack:
    """An attack by name. run(model, examples, budget, seed) gives attacked images, shaped as the examples' x."""

    name: str
    system: str
    knowledge: str
    says: str  # one plain sentence
    run: Perturb

    def __post_init__(self) -> None:
        """Refuse kinds that nobody iterates over."""
        for field, allowed in (("system", KINDS), ("knowledge", KNOWLEDGE)):
            if getattr(self, field) not in allowed:
                raise WorkbookError(f"{field} is one of {choices(allowed)}, not {getattr(self, field)!r}: choose one.")

    def __call__(self, model: nn.Module, examples: Examples, budget: Budget, seed: int = 0) -> Tensor:
        """Attacked images, shaped as `examples.x`, inside `budget`."""
        return self.run(model, examples, budget, seed)

    def but(self, **options: object) -> "NamedAttack":
        """This attack with own options: `named_attack("DeepFool", "recogniser").but(threshold=0.2)`."""
        return replace(self, run=partial(self.run, **options))


ATTACKS: dict[tuple[str, str], NamedAttack] = {}


def register(attack: NamedAttack) -> NamedAttack:
    """Add an attack to the list; the name must be free for its kind of system."""
    if ATTACKS.setdefault((attack.system, attack.name), attack) != attack:
        raise WorkbookError(f"There is an attack '{attack.name}' on a {attack.system} already: use another name.")
    return attack


def named_attack(name: str, system: str) -> NamedAttack:
    """The attack of that name on that kind of system."""
    if (system, name) not in ATTACKS:
        known = choices([other for kind, other in ATTACKS if kind == system])
        raise WorkbookError(f"There is no attack '{name}' on a {system}: choose one of {known}.")
    return ATTACKS[system, name]


def attacks_on(system: str) -> list[NamedAttack]:
    """Every attack on that kind of system, in the order of their registration."""
    return [attack for (kind, _), attack in ATTACKS.items() if kind == system]
