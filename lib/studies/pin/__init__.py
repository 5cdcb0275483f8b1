"""PIN: noise in subspaces, learnable PCA as a defence, its rivals, its attacks (pages 01 to 06)."""
