"""What the test programs of this directory share: a tally, and waiting for something to be true."""

import time


class Skip(Exception):
    """Cannot be checked on this machine; says why."""


class Checks:
    """Counts checks; ends with `N passed, N failed`."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, test, *arguments):
        """Runs one check, whatever the one before it said; its result, or None when it failed."""
        started = time.monotonic()
        try:
            result = test(*arguments)
        except Skip as why:
            self.skipped += 1
            print(f"skipped {name}: {why}", flush=True)
            return None
        except Exception as error:  # a test that breaks has failed, whatever broke it
            self.failed += 1
            print(f"FAILED {name}\n       {type(error).__name__}: {error}".replace("\n", "\n       "), flush=True)
            return None
        self.passed += 1
        print(f"ok     {name} ({time.monotonic() - started:.1f} s){': ' + result if isinstance(result, str) else ''}", flush=True)
        return True if result is None else result

    def finish(self):
        """The last line, and the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0


def eventually(condition, seconds, what):
    """The first true value of `condition()`; an AssertionError with the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {seconds} s: {what}; last: {value!r}")
        time.sleep(0.1)


def equal(actual, expected, what=""):
    if actual != expected:
        raise AssertionError(f"{what}{': ' if what else ''}expected {expected!r}, got {actual!r}")
