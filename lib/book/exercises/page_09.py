"""Exercises of page 09: one unrolled stage, and the cosine with an interpolated negative from inner products."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def walked(function: Callable) -> None:
    """The gradient half of a stage: the face walks against the error of its degraded copy."""
    draw = torch.Generator().manual_seed(0)
    face, attacked = torch.rand(2, 4, 6, generator=draw)
    forth, back = torch.randn(2, 6, 6, generator=draw)

    def degrade(image: Tensor) -> Tensor:
        return image @ forth

    def transposed(image: Tensor) -> Tensor:
        return image @ back

    found = function(face, attacked, degrade, transposed, 0.5)
    expect(isinstance(found, Tensor) and found.shape == face.shape, "return images of the shape of face")
    error = degrade(face) - attacked
    alike = {
        "walk against the gradient: subtract it": face + 0.5 * transposed(error),
        "the error is M(face) - attacked: degrade the face, not the attacked image": (
            face - 0.5 * transposed(face - attacked)
        ),
        "the error goes through the transposed network before it is subtracted": face - 0.5 * error,
        "the step starts from the face of the stage before, not from the attacked image": (
            attacked - 0.5 * transposed(error)
        ),
        "the step has the size alpha": face - transposed(error),
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(found, wrong, atol=1e-5), hint)
    expect(torch.allclose(found, face - 0.5 * transposed(error), atol=1e-5), "not F - alpha MT(M F - F')")


def mixed_cosine(function: Callable) -> None:
    """The cosine of a query with a mix of two vectors, from six inner products."""
    draw = torch.Generator().manual_seed(1)
    query, one, other = torch.randn(3, 50, 8, generator=draw)
    share = torch.rand(50, generator=draw)

    def of(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum(1)

    given = (of(query, one), of(query, other), of(one, other), of(query, query), of(one, one), of(other, other), share)
    mix = share[:, None] * one + (1 - share)[:, None] * other
    top = share * given[0] + (1 - share) * given[1]
    square = share.square() * given[4] + (1 - share).square() * given[5]
    found = function(*given)
    expect(isinstance(found, Tensor) and found.shape == share.shape, "return one cosine for each row, (n,)")
    alike = {
        "divide by the length of the mix too": top / given[3].sqrt(),
        "divide by the length of the query too": top / mix.norm(dim=1),
        "the length of the mix has a third term: the two vectors are not perpendicular": top
        / (square * given[3]).sqrt(),
        "take the root: lengths are roots of inner products": top / (mix.square().sum(1) * given[3]),
        "mix first, then normalise: a mean of two cosines is something else": (
            share * given[0] / (given[3] * given[4]).sqrt() + (1 - share) * given[1] / (given[3] * given[5]).sqrt()
        ),
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(found, wrong, atol=1e-5), hint)
    wanted = torch.nn.functional.cosine_similarity(query, mix, dim=1)
    expect(torch.allclose(found, wanted, atol=1e-4), "not the cosine of the query and the mix")


EXERCISES = [
    Exercise(
        "09-p",
        "predict",
        "At how many dB of PSNR does a clean face leave the restoration?",
        1,
        1,
        "Nothing was done to it, yet three stages work on it; a perfect restoration would give infinity, a face moved "
        "by 8/255 in each pixel has about 30. Write your guess before you look at the curves.",
        'predict("09-p", None)',
    ),
    Exercise(
        "09-1",
        "code",
        "The gradient half of a stage.",
        10,
        1,
        "Let the face of the stage before walk against the gradient of the squared error between its degraded copy and "
        "the attacked image, by a step of size `alpha`.",
        """def walk(face, attacked, degrade, transposed, alpha):
    \"\"\"Images H (n, d) from face F_{k-1} and attacked F' (n, d); degrade is M, transposed stands for M^T.\"\"\"
    raise NotImplementedError


check("09-1", walk)""",
        walked,
    ),
    Exercise(
        "09-2",
        "code",
        "A mixed negative that is never built.",
        20,
        2,
        "Give the cosine of a query q with the mix s a + (1 - s) b of two vectors, from inner products alone. This is "
        "why the contrast needs no tensor of all mixes.",
        """def mixed_cosine(qa, qb, ab, qq, aa, bb, share):
    \"\"\"Cosines (n,) of q with share * a + (1 - share) * b; qa = q.a, qb = q.b, ... all (n,).\"\"\"
    raise NotImplementedError


check("09-2", mixed_cosine)""",
        mixed_cosine,
    ),
    Exercise(
        "09-3",
        "open",
        "A restoration that has seen attacks.",
        60,
        3,
        "Train a short restorer whose degradations include PGD through its own current weights, and draw the five "
        "curves of this page again. What is gained under the attack end to end, what is lost on noise, and would you "
        "now call the restoration a defence?",
    ),
]
