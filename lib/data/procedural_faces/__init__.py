"""The embedded default: rendered faces with exact labels for every factor."""
