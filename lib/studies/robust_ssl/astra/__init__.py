"""ASTrA (page 19): a strategy network that chooses each view's attack, and what it should beat."""
