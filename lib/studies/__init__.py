"""What only one source needs, a folder each; and what every study's pages ask for."""
