"""The clock of a training: the time that has passed, and the processor time of the steps."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Continues from the times of a training that is resumed."""

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._began = time.perf_counter() - seconds
        self._cpu_seconds = cpu_seconds
        self._step_began: float | None = None

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Count the processor time of the block."""
        self._step_began = time.process_time()
        try:
            yield
        finally:
            self._cpu_seconds, self._step_began = self.cpu_seconds, None

    @property
    def seconds(self) -> float:
        """All seconds of training so far, over all processes of a resumed run."""
        return time.perf_counter() - self._began

    @property
    def cpu_seconds(self) -> float:
        """The processor time of the steps, including the part of a step that is not finished."""
        begun = self._step_began
        return self._cpu_seconds + (0.0 if begun is None else time.process_time() - begun)
