"""Lines of progress on stderr."""

import sys
import time

# Seconds between two lines.
EVERY = 10.0


class Progress:
    """Prints a line of progress on stderr, at most one every 10 seconds."""

    def __init__(self):
        """Begin to count the time."""
        self._shown = time.monotonic()

    def print(self, line: str) -> None:
        """Print a line, unless another one was printed a moment ago."""
        now = time.monotonic()
        if now - self._shown < EVERY:
            return
        self._shown = now
        print(line, file=sys.stderr, flush=True)
