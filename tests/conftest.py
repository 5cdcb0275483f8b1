"""Fixtures of all tests: real data when the data root has it, a fixed number of threads, no network."""

import pytest

from lib.paths import data_root


def needs_data(*files: str) -> pytest.MarkDecorator:
    """Skip, saying so, when the data root lacks one of `files`."""
    missing = [name for name in files if not (data_root() / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"the data root has no {', '.join(missing)} (set WORKBOOK_DATA)")


def pytest_collection_modifyitems(items):
    """The pages first: with several workers nothing long is left to wait for at the end."""
    items.sort(key=lambda item: item.get_closest_marker("notebook") is None)
