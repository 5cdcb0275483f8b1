"""The honesty checks that any defence is put through: signs that its robustness is a masked gradient.

Every check takes error rates in [0, 1] (EER, error, 1 - accuracy: higher means that the attack did better), as floats
or as `Interval`s. An order counts as broken only where the intervals no longer touch; a float has no width. After the
five conditions of PIN, Section V-F, and AutoAttack's own warnings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lib.errors import WorkbookError
from lib.interval import Interval

Error = float | Interval


@dataclass(frozen=True)
class Check:
    """The result of one check, with a sentence for the reader."""

    name: str
    passed: bool
    sentence: str


def one_step_below_iterative(one_step: Error, iterative: Error) -> Check:
    """Many steps must do at least as well as one (PIN, Table XI)."""
    return _ordered("one step below iterative", "the one-step attack", one_step, "the iterative attack", iterative)


def white_box_at_least_black_box(white: Error, black: Error) -> Check:
    """Knowing the model must help: transfer and query attacks may not beat the white box (PIN, Table XII)."""
    return _ordered("white box at least black box", "the black-box attack", black, "the white-box attack", white)


def online_at_least_offline(online: Error, offline: Error) -> Check:
    """An attack through the defence must do at least as well as one made without it (PIN, Table IV)."""
    return _ordered("online at least offline", "the offline attack", offline, "the online attack", online)


def adversarial_never_above_clean(clean: Error, attacked: Mapping[str, Error]) -> Check:
    """No attack may leave fewer errors than no attack: accuracy under attack is never above clean (ANCRA, Table II)."""
    if not attacked:
        raise WorkbookError("adversarial_never_above_clean expects at least one attack, not none; give {name: error}.")
    weakest = min(attacked, key=lambda name: _ends(attacked[name])[1])
    return _ordered("adversarial never above clean", "the clean data", clean, weakest, attacked[weakest])


def monotone_in_bound(bounds: Sequence[float], errors: Sequence[Error]) -> Check:
    """A larger bound must not lower the error; `bounds` ascend (PIN, Table XIII)."""
    _ascending(bounds, errors)
    name = "monotone in bound"
    for i in range(1, len(errors)):
        best = max(range(i), key=lambda j: _ends(errors[j])[0])
        if _ends(errors[i])[1] < _ends(errors[best])[0]:
            fall = f"from {_show(errors[best])} at {bounds[best]:g} to {_show(errors[i])} at {bounds[i]:g}"
            return Check(name, False, f"The error falls {fall}, so the attack stops finding what is there.")
    return Check(name, True, f"The error never falls between the bounds {bounds[0]:g} and {bounds[-1]:g}.")


def reaches_everything_at_large_bound(bounds: Sequence[float], errors: Sequence[Error], slack: float = 0.01) -> Check:
    """At the largest bound, where the face can be replaced, the error must reach 1 - `slack` (PIN, Table XIII)."""
    _ascending(bounds, errors)
    passed = _ends(errors[-1])[1] >= 1 - slack
    verdict = "as an unbounded attack must" if passed else "although an attack without bound must break everything"
    sentence = f"At the bound {bounds[-1]:g} the error reaches {_show(errors[-1])}, {verdict}."
    return Check("reaches everything at large bound", passed, sentence)


def _ordered(name: str, lower: str, less: Error, upper: str, more: Error) -> Check:
    passed = _ends(more)[1] >= _ends(less)[0]
    verdict = "as it should be" if passed else "which points to a masked gradient"
    sentence = f"The error is {_show(less)} for {lower} and {_show(more)} for {upper}, {verdict}."
    return Check(name, passed, sentence)


def _ascending(bounds: Sequence[float], errors: Sequence[Error]) -> None:
    rising = all(a < b for a, b in zip(bounds, bounds[1:], strict=False))
    if len(bounds) != len(errors) or len(bounds) < 2 or not rising:
        raise WorkbookError(
            f"A curve expects at least 2 ascending bounds with one error each, not {len(bounds)} bounds and "
            f"{len(errors)} errors or an unsorted list; sort the bounds."
        )


def _ends(error: Error) -> tuple[float, float]:
    low, high = (error.low, error.high) if isinstance(error, Interval) else (float(error), float(error))
    if not (0 <= low <= 1 and 0 <= high <= 1):
        raise WorkbookError(
            f"A check expects error rates between 0 and 1, not {low:g} to {high:g}; divide per cent by 100."
        )
    return low, high


def _show(error: Error) -> str:
    value = error.estimate if isinstance(error, Interval) else error
    return f"{100 * value:.2f} %"


def more_steps_never_help_the_defender(steps: Sequence[int], errors: Sequence[Error]) -> Check:
    """A longer attack must not do worse (the same for restarts or EOT draws); `steps` ascend."""
    passed = monotone_in_bound(steps, errors).passed
    verdict = "so more steps never help the defender" if passed else "so the attack loses what it had found"
    curve = ", ".join(f"{_show(error)} at {step:g}" for step, error in zip(steps, errors, strict=True))
    return Check("more steps never help the defender", passed, f"The error is {curve} steps, {verdict}.")


def no_zero_gradients(share: Error) -> Check:
    """No image may have a gradient of exactly zero, where a gradient attack is blind; `share` of such images."""
    passed = _ends(share)[1] == 0
    verdict = "as it should be" if passed else "so a gradient attack is blind there"
    return Check("no zero gradients", passed, f"{_show(share)} of the images have a gradient of zero, {verdict}.")


def random_search_finds_nothing_new(random: Sequence[bool], gradient: Sequence[bool]) -> Check:
    """Of the same pairs, those that random search breaks and those that the gradient attack breaks (PIN, V-F (v))."""
    if len(random) != len(gradient) or not len(random):
        raise WorkbookError(
            f"Random search and gradient attack are compared on the same pairs, not on {len(random)} and "
            f"{len(gradient)}: give one flag per pair for both."
        )
    new = sum(bool(found) and not bool(known) for found, known in zip(random, gradient, strict=True))
    verdict = "as it should be" if not new else "which points to a masked gradient"
    sentence = (
        f"Of {len(random)} pairs random search breaks {sum(map(bool, random))} and the gradient attack "
        f"{sum(map(bool, gradient))}; {new} of them only random search, {verdict}."
    )
    return Check("random search finds nothing new", not new, sentence)


CHECKS = (
    "adversarial never above clean",
    "one step below iterative",
    "white box at least black box",
    "online at least offline",
    "monotone in bound",
    "reaches everything at large bound",
    "more steps never help the defender",
    "random search finds nothing new",
    "no zero gradients",
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a defence: error rates in [0, 1], and what the other checks need; None where it was not.

    by_bound, by_steps: {bound or steps: error}, ascending. random_search: the pairs (flags) that it broke, and those
    that the gradient attack broke. zero_gradients: the share of images without a gradient. white_box is the iterative
    attack unless given.
    """

    clean: Error | None = None
    one_step: Error | None = None
    iterative: Error | None = None
    black_box: Error | None = None
    white_box: Error | None = None
    offline: Error | None = None
    online: Error | None = None
    by_bound: Mapping[float, Error] | None = None
    by_steps: Mapping[int, Error] | None = None
    random_search: tuple[Sequence[bool], Sequence[bool]] | None = None
    zero_gradients: Error | None = None

    @property
    def attacked(self) -> dict[str, Error] | None:
        """The error under each attack that was made; None without any."""
        named = {"the one-step attack": self.one_step, "the iterative attack": self.iterative}
        named |= {"the black-box attack": self.black_box, "the white-box attack": self.strongest}
        named |= {"the offline attack": self.offline, "the online attack": self.online}
        return {name: error for name, error in named.items() if error is not None} or None

    @property
    def strongest(self) -> Error | None:
        """The error under the white-box attack."""
        return self.iterative if self.white_box is None else self.white_box


def honesty(**measured: object) -> list[Check]:
    """Every check whose numbers are given, in the order of `CHECKS`: one call puts a defence through the whole list.

    measured: fields of `Measured`. `checks_frame` names what was left out.
    """
    given = Measured(**measured)
    bounds, steps = (curve and (list(curve), list(curve.values())) for curve in (given.by_bound, given.by_steps))
    inputs = [
        (adversarial_never_above_clean, (given.clean, given.attacked)),
        (one_step_below_iterative, (given.one_step, given.iterative)),
        (white_box_at_least_black_box, (given.strongest, given.black_box)),
        (online_at_least_offline, (given.online, given.offline)),
        (monotone_in_bound, bounds),
        (reaches_everything_at_large_bound, bounds),
        (more_steps_never_help_the_defender, steps),
        (random_search_finds_nothing_new, given.random_search),
        (no_zero_gradients, (given.zero_gradients,)),
    ]
    return [check(*parts) for check, parts in inputs if parts and all(value is not None for value in parts)]


def checks_frame(checks: Sequence[Check]) -> pd.DataFrame:
    """Checks as a table for reading, in the order of `CHECKS`; those not among them are named as not done."""
    done = {check.name: ("passed" if check.passed else "FAILED", check.sentence) for check in checks}
    rows = [(name, *done.get(name, ("not done", ""))) for name in dict.fromkeys((*CHECKS, *done))]
    return pd.DataFrame(rows, columns=["check", "verdict", "what was found"])
