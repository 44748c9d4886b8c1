"""Times each step and prints it as it ends. Made once by `image/pack`, handed to nothing else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Steps:
    """The steps so far and how many seconds each took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times what runs inside the `with` block."""
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 2)
        print(f"{self.seconds[name]:7.2f} s  {name}", flush=True)

    def total(self) -> float:
        """The sum over all steps."""
        return round(sum(self.seconds.values()), 2)
