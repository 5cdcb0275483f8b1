"""Training: one loop, in one process or several, and what every study feeds it."""
