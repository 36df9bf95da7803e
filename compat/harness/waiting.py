"""Waiting for a state with a deadline, never for a time."""

import time


def wait_for(probe, what, seconds=20.0, every=0.1):
    """Calls `probe` until it returns something true and returns that; fails with the last value after `seconds`.

    An exception inside the probe counts as "not yet" and is named if the deadline passes.
    """
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            last = probe()
            if last:
                return last
        except Exception as error:  # noqa: BLE001 - whatever the probe raises is shown below
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {last!r}")
        time.sleep(every)


def holds_for(probe, what, seconds=3.0, every=0.1):
    """Checks that `probe` stays true during `seconds`: the proof of something that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        assert value, f"did not stay: {what}; saw {value!r}"
        time.sleep(every)
