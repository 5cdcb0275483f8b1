import copy

import pytest
import torch
from torch import nn

from lib.attacks import frozen
from lib.errors import WorkbookError
from lib.models import evaluating
from lib.models.dual_norm import ROUTES, DualBatchNorm1d, DualBatchNorm2d, copy_route, route


class Net(nn.Module):
    """Convolution, norm, convolution, norm, linear layer, norm."""

    def __init__(self, shared, norms):
        super().__init__()
        self.shared, self.norms = nn.ModuleList(shared), nn.ModuleList(norms)

    def forward(self, x):
        for layer, norm in zip(self.shared[:2], self.norms[:2], strict=True):
            x = norm(layer(x)).relu()
        return self.norms[2](self.shared[2](x.flatten(1)))


def layers():
    return [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1), nn.Linear(5 * 36, 6)]


def plain_norms():
    return [nn.BatchNorm2d(4), nn.BatchNorm2d(5), nn.BatchNorm1d(6)]


@pytest.fixture
def dual():
    torch.manual_seed(0)
    return Net(layers(), [DualBatchNorm2d(4), DualBatchNorm2d(5), DualBatchNorm1d(6)])


@pytest.fixture
def batches():
    return torch.rand(6, 8, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def routes(model):
    return [module.route for module in model.modules() if isinstance(module, DualBatchNorm1d | DualBatchNorm2d)]


def own(model, name):
    """Every parameter and statistic of one route."""
    return {key: value.clone() for key, value in model.state_dict().items() if f".{name}." in key}


def descend(model, x):
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    model(x).square().mul(torch.arange(1.0, 7.0)).mean().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_it_is_two_networks_with_shared_convolutions(dual, batches):
    shared = copy.deepcopy(dual.shared)
    pair = {name: Net(shared, plain_norms()) for name in ROUTES}
    for step, x in enumerate(batches[:5]):
        name, other = ROUTES if step % 2 == 0 else reversed(ROUTES)
        still = own(dual, other)
        with route(dual, name):
            descend(dual, x)
        descend(pair[name], x)
        assert all(torch.equal(value, still[key]) for key, value in own(dual, other).items())
    for name in ROUTES:
        for mode in (True, False):
            with route(dual.train(mode), name):
                torch.testing.assert_close(dual(batches[5]), pair[name].train(mode)(batches[5]))
    assert not torch.equal(dual.norms[0].clean.running_mean, dual.norms[0].adversarial.running_mean)


def test_old_routes_come_back_one_by_one_exceptions_included(dual):
    dual.norms[1].route = "adversarial"

    def fails():
        with route(dual, "clean"), route(dual, "adversarial"):
            assert routes(dual) == ["adversarial"] * 3
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fails()
    assert routes(dual) == ["clean", "adversarial", "clean"]


def test_a_model_without_dual_layers_passes_unchanged(batches):
    model = Net(layers(), plain_norms()).eval()
    before = model(batches[0])
    with route(model, "adversarial"):
        assert torch.equal(model(batches[0]), before)


def test_copies_states_and_guards(dual, batches):
    with route(dual, "adversarial"):
        dual(batches[0])
        before = dual.state_dict()
        with evaluating(dual), frozen(dual):
            found = dual(batches[1])
            assert not found.requires_grad
        assert all(torch.equal(value, before[key]) for key, value in dual.state_dict().items())
        twin = copy.deepcopy(dual)
    fresh = Net(layers(), [DualBatchNorm2d(4), DualBatchNorm2d(5), DualBatchNorm1d(6)]).eval()
    fresh.load_state_dict(dual.state_dict())
    with route(fresh, "adversarial"):
        torch.testing.assert_close(fresh(batches[1]), found)
    torch.testing.assert_close(twin.eval()(batches[1]), found)  # a copy keeps the route it was made under
    assert dual.training
    assert all(weight.requires_grad for weight in dual.parameters())


def test_bad_routes(dual):
    with pytest.raises(WorkbookError, match="one of clean, adversarial, not 'dirty'"), route(dual, "dirty"):
        pass


def test_a_copied_route_is_the_other():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), DualBatchNorm2d(4), nn.Flatten(), DualBatchNorm1d(4 * 16))
    for _ in range(3):
        model(torch.rand(8, 1, 6, 6) + 1)
    model.eval()
    x = torch.rand(5, 1, 6, 6)
    with route(model, "adversarial"):
        before = model(x)
    copy_route(model)
    with route(model, "adversarial"):
        after = model(x)
    assert torch.equal(after, model(x))
    assert not torch.allclose(before, after)
