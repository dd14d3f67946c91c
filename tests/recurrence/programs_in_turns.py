"""Run the programs of a Triton kernel in turns.

Triton's interpreter runs one program after the other, so that programs that wait for one another would wait forever.
Here each has a thread, of which one runs: it gives its turn to the next program whenever it uses an atomic operation,
as it does while it waits.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MOST_TURNS = 100_000
"""Programs that take more turns wait for something that will not happen."""


class InTurns:
    """Stands in for an interpreted kernel."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        """The launch of so many programs."""
        from triton.runtime.interpreter import GridExecutor

        program = self._kernel.rewrite()
        names = self._kernel.arg_names
        scope = program.__globals__
        exec(
            f"def launched({', '.join(names)}): run_all(locals())", scope
        )  # where Triton looks for its language
        scope["run_all"] = lambda given: _run_all(program, given, grid[0])
        scope["launched"].__annotations__ = program.__annotations__
        return GridExecutor(scope["launched"], names, (1,), [])


def _run_all(program: Callable[..., None], given: dict[str, Any], count: int) -> None:
    turns = _Turns(count)
    threads = [threading.Thread(target=turns.run, args=(number, program, given)) for number in range(count)]
    with turns.given_at_atomic_operations():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if turns.error is not None:
        raise turns.error


class _Turns:
    def __init__(self, count: int) -> None:
        from triton.runtime.interpreter import interpreter_builder

        self.error: Exception | None = None
        self._builder: Any = interpreter_builder
        self._builder.set_grid_dim(count, 1, 1)
        self._running = [*range(count)]
        self._taken = 0
        self._changed = threading.Condition()
        self._own = threading.local()

    def run(self, number: int, program: Callable[..., None], given: dict[str, Any]) -> None:
        """Run one program, in its thread."""
        self._own.number = number
        try:
            self._wait()
            program(**given)
        except Exception as error:
            self.error = self.error or error
        finally:
            self._give(done=True)

    @contextmanager
    def given_at_atomic_operations(self) -> Iterator[None]:
        """Inside the block, every atomic operation ends a turn."""
        atomic = self._builder.create_atomic_rmw

        def with_turn(*args: Any) -> Any:
            value = atomic(*args)
            self._give()
            self._wait()
            return value

        self._builder.create_atomic_rmw = with_turn
        try:
            yield
        finally:
            self._builder.create_atomic_rmw = atomic

    def _wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.error or self._running[0] == self._own.number)
        if self.error is not None:
            raise RuntimeError("another program failed")
        self._builder.set_grid_idx(self._own.number, 0, 0)

    def _give(self, *, done: bool = False) -> None:
        with self._changed:
            if self._own.number in self._running:
                self._running.remove(self._own.number)
            if not done:
                self._running.append(self._own.number)
            self._taken += 1
            if self._taken > MOST_TURNS:
                self.error = self.error or AssertionError("the programs wait for one another")
            self._changed.notify_all()
