"""Collects garbage at the end of each test: what a test leaves open is told there, and not in a later one, as chance has it."""

import gc

import pytest


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    gc.collect()
