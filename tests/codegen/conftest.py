"""Every test of this room works in a cache of its own, under pytest's temporary folder."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    before = os.environ.get("GRISTMILL_CACHE_DIR")
    os.environ["GRISTMILL_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache") / "gristmill")
    yield
    if before is None:
        del os.environ["GRISTMILL_CACHE_DIR"]
    else:
        os.environ["GRISTMILL_CACHE_DIR"] = before
