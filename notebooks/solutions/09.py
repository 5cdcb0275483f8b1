"""Solutions of page 09. Open exercise 09-3: expect a smaller loss end to end, and blurrier faces; then attack it longer."""


def walk(face, attacked, degrade, transposed, alpha):
    """Images H (n, d) from face F_{k-1} and attacked F' (n, d); degrade is M, transposed stands for M^T."""
    error = degrade(face) - attacked
    return face - alpha * transposed(error)


def mixed_cosine(qa, qb, ab, qq, aa, bb, share):
    """Cosines (n,) of q with share * a + (1 - share) * b; qa = q.a, qb = q.b, ... all (n,)."""
    rest = 1 - share
    inner = share * qa + rest * qb
    square = share**2 * aa + rest**2 * bb + 2 * share * rest * ab
    return inner / (square * qq).sqrt()
