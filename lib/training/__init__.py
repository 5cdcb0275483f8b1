"""Training: what the book trains itself."""

from lib.training.recognisers import recogniser_for

__all__ = ["recogniser_for"]
