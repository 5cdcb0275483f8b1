"""Solutions of page 17. Open exercise 17-3: expect each kind of view to help most on its own test; compare strengths first."""


def undo(w, c, d):
    """Points z (n,) complex of the new picture where points w (n,) of the old one are seen; c complex, d real."""
    return d * w / (1 - c * w)


def crop_of_moebius(c, s, t):
    """(a, b, c, d) of (a w + b) / (c w + d), which reads the old picture; c and t complex, s real."""
    return s, t, c * s, 1 + c * t
