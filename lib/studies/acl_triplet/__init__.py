"""ACL-triplet: contrastive adversarial pre-training, then triplet adversarial fine-tuning (pages 07 and 08)."""
