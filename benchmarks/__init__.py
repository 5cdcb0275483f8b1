"""Speed of the attack room, as ratios whose two sides are measured in one run: `make bench`."""
