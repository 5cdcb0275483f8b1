"""Classifiers with reverse attention, and what sets its gates (ANCRA, section III-D)."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.classifiers import Classifier

Gate = Callable[[Tensor, Tensor], Tensor]  # auxiliary logits (n, K), weight of the linear layer (K, C) -> mask (n, C)


def hard(logits: Tensor, weight: Tensor) -> Tensor:
    """The weights of the predicted class (eq. 6, testing phase): the class comes from an argmax, without a gradient."""
    return weight[logits.argmax(1)]


def labelled(labels: Tensor) -> Gate:
    """The weights of the classes `labels` (n,) (eq. 6, training phase)."""
    return lambda logits, weight: weight[labels.to(weight.device)]


def soft(temperature: float = 1.0) -> Gate:
    """The mean weights under softmax(temperature * logits): what a gradient can pass."""
    return lambda logits, weight: torch.softmax(temperature * logits, dim=1) @ weight


def straight_through(temperature: float = 1.0) -> Gate:
    """`hard` forwards, `soft` backwards (BPDA, Athalye et al. 2018)."""

    def gate(logits: Tensor, weight: Tensor) -> Tensor:
        smooth = soft(temperature)(logits, weight)
        return smooth + (hard(logits, weight) - smooth).detach()

    return gate


def bypass(logits: Tensor, weight: Tensor) -> Tensor:
    """No attention: the same weights without the gates (P'' of Table X)."""
    return weight.new_ones(len(logits), weight.shape[1])


class Outputs(NamedTuple):
    """What a classifier says of n images."""

    logits: Tensor  # (n, K), of P'; of P where there is no gate
    auxiliary: tuple[Tensor, ...]  # (n, K) for each gate, of P, from the features before it
    features: Tensor  # (n, C), what the logits are computed from: after the last gate
    plain: Tensor  # (n, C), before the last gate

    @property
    def heads(self) -> tuple[Tensor, ...]:
        """The final logits, then those of each gate: the last do not depend on the last gate."""
        return self.logits, *self.auxiliary


class GatedClassifier(Classifier):
    """A classifier whose `gates` last blocks carry reverse attention; with 0 gates the plain one.

    Such a block's map is averaged and classified by the one linear layer (auxiliary logits), and its channels are
    multiplied by that layer's weights of one class, which the gate chooses. ANCRA trains with 2; 1 is the form that can
    be added to a finished model. As in the source there is no normalisation of pixels. A trunk has `stem`, `blocks`
    (stages of blocks), `dim` and maybe a `tail` (pre-activation networks: the last normalisation and ReLU, passed in
    each gated block).
    """

    def __init__(self, trunk: nn.Module, classes: int, gates: int = 0):
        super().__init__(trunk, classes)
        self.gates = _checked(trunk, gates)

    def outputs(self, x: Tensor, gate: Gate = hard) -> Outputs:
        """Everything that losses and attacks ask for, with the gates set by `gate`."""
        if not self.gates:
            features = self.trunk(x)
            return Outputs(self.fc(features), (), features, features)
        stages = self.trunk.blocks
        auxiliary = []
        ungated = len(stages[-1]) - self.gates
        maps = stages[-1][:ungated](stages[:-1](self.trunk.stem(x)))
        for block in stages[-1][ungated:]:
            maps = self.tail(block(maps))
            plain = maps.mean((2, 3))
            auxiliary.append(self.fc(plain))
            mask = gate(auxiliary[-1], self.fc.weight).to(maps.dtype)
            maps = maps * mask[:, :, None, None]
            features = plain * mask
        return Outputs(self.fc(features), tuple(auxiliary), features, plain)

    def tail(self, maps: Tensor) -> Tensor:
        """The trunk's last normalisation and ReLU, where it has them."""
        return self.trunk.tail(maps) if hasattr(self.trunk, "tail") else maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes), each image gated by its own predicted class."""
        return self.outputs(x).logits


def with_gates(model: GatedClassifier, gates: int) -> GatedClassifier:
    """The same trained weights with another number of gates: `with_gates(model, 1)` deploys reverse attention."""
    changed = copy.deepcopy(model)
    changed.gates = _checked(model.trunk, gates)
    return changed


def _checked(trunk: nn.Module, gates: int) -> int:
    last = len(trunk.blocks[-1])
    if not 0 <= gates <= last:
        raise WorkbookError(f"The last stage has {last} blocks, so 0 to {last} gates, but {gates} came: change them.")
    return gates


class View(nn.Module):
    """One output of a classifier as a model of its own: the last auxiliary logits, or the logits behind another gate.

    For attacks that take models (AutoAttack, transfer) rather than objectives.
    """

    def __init__(self, model: GatedClassifier, gate: Gate = hard, auxiliary: bool = False):
        super().__init__()
        if auxiliary and not model.gates:
            raise WorkbookError("A classifier without gates has no auxiliary logits: attack its own.")
        self.model = model
        self.gate = gate
        self.auxiliary = auxiliary

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        outputs = self.model.outputs(x, self.gate)
        return outputs.auxiliary[-1] if self.auxiliary else outputs.logits
