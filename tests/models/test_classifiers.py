"""The plain classifier against a loop over its parts, and what it decides."""

import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.models.classifiers import Classifier, decisions, is_correct
from lib.models.preact import PreActResNet, WideResNet
from lib.models.resnets import ResNet

X = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(1))
TRUNKS = {
    "resnet": lambda: ResNet(18, width=2, stem="half"),
    "preact": lambda: PreActResNet(18, width=2, stem="half"),
    "wide": lambda: WideResNet(16, widen=1, base=2),
}


class Mean(nn.Module):
    """A trunk by hand: the mean of each channel."""

    dim = 3

    def forward(self, x):
        return x.mean((2, 3))


@torch.no_grad()
@pytest.mark.parametrize("trunk", TRUNKS)
def test_logits_are_a_linear_layer_on_the_trunk(trunk):
    torch.manual_seed(0)
    model = Classifier(TRUNKS[trunk](), 4).eval()
    features = model.trunk(X)
    slow = [
        [(row * weight).sum() + bias for weight, bias in zip(*model.fc.parameters(), strict=True)] for row in features
    ]
    torch.testing.assert_close(model(X), torch.tensor(slow), rtol=1e-4, atol=1e-5)
    assert {name.split(".")[0] for name in model.state_dict()} == {"trunk", "fc"}


def test_decisions_and_correct_answers_by_hand():
    model = Classifier(Mean(), 3)
    with torch.no_grad():
        model.fc.weight.copy_(torch.eye(3))
        model.fc.bias.zero_()
    images = torch.zeros(40, 3, 2, 2)
    labels = torch.arange(40) % 3
    images[torch.arange(40), labels] = 0.5
    images[7] = torch.tensor([0.1, 0.2, 0.9]).view(3, 1, 1)  # image 7 is of class 1 and looks like class 2
    expected = labels.clone()
    expected[7] = 2
    assert torch.equal(decisions(model.train(), images), expected)
    assert model.training
    assert is_correct(model, images, labels).tolist() == [row != 7 for row in range(40)]


def test_one_class_is_refused():
    with pytest.raises(WorkbookError, match="tells 2 or more classes apart, not 1"):
        Classifier(Mean(), 1)
