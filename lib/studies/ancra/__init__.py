"""ANCRA: asymmetric negative contrast and reverse attention (pages 12 to 14)."""
