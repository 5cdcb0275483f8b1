"""Robust self-supervised learning, the slides: joint embedding, corruptions, conformal views (pages 15 to 19)."""
