"""Losses as pure functions of tensors: contrastive, margin, adversarial. They know no model and no training."""
