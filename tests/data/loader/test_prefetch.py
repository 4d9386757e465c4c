import pytest

from ivn.data.loader.prefetch import Prefetch


def after(policy, batches, **seconds):
    """The depth after some batches that went alike."""
    for _ in range(batches):
        if policy.wants_more(**seconds):
            policy.grow()
    return policy.depth


def test_waiting_beside_idle_workers_deepens_and_nothing_else_does():
    assert after(Prefetch(1, 100), 40, waited=0.1, seconds=1.0, idle=0.1) == 4
    # Workers that never rest are too few; more room would stay empty.
    assert after(Prefetch(1, 100), 40, waited=0.9, seconds=1.0, idle=0.0) == 2
    assert after(Prefetch(1, 100), 40, waited=0.01, seconds=1.0, idle=0.9) == 2


@pytest.mark.parametrize(("limit", "most"), [(0, 2), (39, 3), (10**9, 32)])
def test_memory_bounds_the_depth_but_for_two(limit, most):
    assert after(Prefetch(10, limit), 2000, waited=0.5, seconds=1.0, idle=0.5) == most


def test_where_memory_ends_it_stays():
    policy = Prefetch(1, 100)
    assert any(policy.wants_more(0.5, 1.0, 0.5) for _ in range(20))
    policy.stay()
    assert after(policy, 100, waited=0.5, seconds=1.0, idle=0.5) == 2
