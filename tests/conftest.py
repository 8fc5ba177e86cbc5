"""What every test gets."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Finished experiments of one test are not another's, nor the user's."""
    monkeypatch.setenv("PIMSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
