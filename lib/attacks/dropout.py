"""DFANet (Zhong and Deng 2020, TIFS): dropout behind the convolutions of a surrogate, for attacks that transfer.

    surrogate = with_dropout(recogniser)
    adversarial = ascend(feature_distance(surrogate, other), x, Linf("8/255"), DFANET)

Each gradient comes from another randomly thinned network, so that the perturbation cannot lean on what one network
alone computes; it is judged on other recognisers. The paper made the TALFW images so.
"""

from copy import deepcopy

from torch import nn

from lib.attacks.settings import MIFGSM
from lib.errors import WorkbookError

DFANET = MIFGSM.but(dropout=True)


def with_dropout(model: nn.Module, rate: float = 0.1) -> nn.Module:
    """A copy of `model` with element-wise dropout of `rate` behind every Conv2d, off in eval mode.

    In eval mode the copy computes what `model` does; an attack whose settings say `dropout=True` switches the dropout
    layers on (any that `model` has of its own too). Where batch normalisation is folded into a convolution, dropout
    stands behind both. The weights are copied, `model` is left alone. Noise adds up over the layers: check that clean
    embeddings of the thinned network still resemble the model's own (MobileFaceNet's 51 layers bear 0.01, not 0.1).
    """
    if not 0 <= rate < 1:
        raise WorkbookError(f"A dropout rate lies in [0, 1), but {rate} came: 0.1 is a usual one.")
    copy = deepcopy(model)
    owners = [
        (owner, name) for owner in copy.modules() for name, layer in owner.named_children() if type(layer) is nn.Conv2d
    ]
    if not owners:
        raise WorkbookError(f"{type(model).__name__} holds no Conv2d layer to thin: choose a convolutional surrogate.")
    for owner, name in owners:
        layer = owner.get_submodule(name)
        setattr(owner, name, nn.Sequential(layer, nn.Dropout(rate)).train(layer.training))
    return copy
