import pytest, os
from tests.reports.test_bounds import explore

A, B = map(int, os.environ["SEEDS"].split("-"))


@pytest.mark.parametrize("end", ["now", "past"])
@pytest.mark.parametrize("k", range(A, B, 4))
def test_it(shared_engine, monkeypatch, end, k):
    explore(shared_engine, end, monkeypatch, range(k, k + 4), truths=8)
