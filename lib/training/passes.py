"""What a step of training passes through a network, counted by hooks: the honest unit of cost."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

KINDS = ("attack forward", "attack backward", "training forward", "training backward")


def count_passes(work: Callable[[], object], layers: Sequence[nn.Module], images: int) -> dict[str, float]:
    """Rows that pass `layers` in `work()` by `KINDS`, over `images`; a layer in eval mode counts as "attack".

    layers: one of each network, one that every image passes once (its stem).
    """
    seen = dict.fromkeys(KINDS, 0)

    def count(module: nn.Module, _: object, maps: Tensor) -> None:
        kind = "training" if module.training else "attack"
        seen[f"{kind} forward"] += len(maps)
        if maps.requires_grad:
            maps.register_hook(lambda g: seen.__setitem__(f"{kind} backward", seen[f"{kind} backward"] + len(g)))

    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        work()
    finally:
        for hook in hooks:
            hook.remove()
    return {kind: number / images for kind, number in seen.items()}


def forward_equivalents(passes: dict[str, float]) -> float:
    """Cost in forward passes: an input gradient costs one more forward, a weight gradient two (the usual estimate)."""
    attack = passes["attack forward"] + passes["attack backward"]
    return attack + passes["training forward"] + 2 * passes["training backward"]
