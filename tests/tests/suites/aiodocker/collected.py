"""Collects garbage at the end of each test, so that what it leaves open is told at once and not when chance has it.

What pytest itself still holds of a test, as a traceback, is told with the next one.
"""

import gc

import pytest


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    gc.collect()
