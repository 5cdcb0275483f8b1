"""The one list of systems: a recogniser or classifier with its defence, by name, and what an attacker may know of it.

    for system in SYSTEMS.values():
        model = system.build(source)  # what `source` is, the system's study says

Studies add theirs with `register_system`; a page that judges every defence iterates over `SYSTEMS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lib.attacks.registry import KINDS, KNOWLEDGE
from lib.errors import WorkbookError, choices


@dataclass(frozen=True)
class System:
    """A system by name: kind, the knowledge of an attacker that makes sense for it, and how it is built.

    threats: of `lib.attacks.registry.KNOWLEDGE`. random: it draws, so that scores are means over draws.
    """

    name: str
    kind: str
    threats: tuple[str, ...]
    says: str  # one plain sentence
    build: Callable[..., nn.Module]
    random: bool = False

    def __post_init__(self) -> None:
        """Refuse kinds and threats that nobody iterates over."""
        if self.kind not in KINDS:
            raise WorkbookError(f"kind is one of {choices(KINDS)}, not {self.kind!r}: choose one.")
        if unknown := set(self.threats) - set(KNOWLEDGE):
            raise WorkbookError(f"threats are among {choices(KNOWLEDGE)}, not {choices(sorted(unknown))}: change them.")


SYSTEMS: dict[str, System] = {}


def register_system(system: System) -> System:
    """Add a system to the list; its name must be free."""
    if SYSTEMS.setdefault(system.name, system) != system:
        raise WorkbookError(f"There is a system '{system.name}' already: use another name.")
    return system


def named_system(name: str) -> System:
    """The system of that name."""
    if name not in SYSTEMS:
        raise WorkbookError(f"There is no system '{name}': choose one of {choices(list(SYSTEMS))}.")
    return SYSTEMS[name]
