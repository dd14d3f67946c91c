"""The one thread that works with the models: questions one after another, continuations step by step together."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from lmkit.serve.errors import as_api_error, busy, stopping

log = logging.getLogger(__name__)

T = TypeVar("T")

QUESTIONS = 0.02
"""Seconds of questions between two steps of continuations, so that neither waits for all of the other."""
BETWEEN = 0.02
"""Seconds between two deliveries of texts: of what was chosen between them, each client gets one chunk."""


class Steps(Protocol):
    """Continuations of one model: work that goes on in steps."""

    def step(self) -> bool:
        """Do a little; return whether there is more to do."""
        ...

    def deliver(self) -> None:
        """Tell clients what is new."""
        ...

    def stop(self, error: Exception) -> None:
        """End everything with an error."""
        ...


class Engine:
    """Runs functions in one thread that owns the models.

    threads: of torch; None: its default. max_queue: requests waiting or in work.
    """

    def __init__(self, *, max_queue: int, threads: int | None = None) -> None:
        self._max_queue = max_queue
        self._threads = threads
        self._waiting: deque[_Question] = deque()
        self._steps: list[Steps] = []
        self._told: dict[asyncio.AbstractEventLoop, list[tuple[Callable[..., object], tuple[Any, ...]]]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._woken = False
        self._load = 0

    @property
    def load(self) -> int:
        """The number of questions and continuations that wait or are in work."""
        return self._load

    def add_steps(self, steps: Steps) -> None:
        """Take turns with the steps of a model."""
        self._steps.append(steps)

    def reserve(self, count: int = 1) -> None:
        """Count work as begun; 429 if there is too much, 503 while the server stops. `release` takes it back."""
        with self._changed:
            if self._stopping:
                raise stopping()
            if self._load + count > self._max_queue:
                raise busy(1)
            self._load += count

    def release(self, count: int = 1) -> None:
        """Count work as done."""
        with self._changed:
            self._load -= count

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a function that runs in the engine's thread; forgotten if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        question = _Question(loop.create_future(), function, arguments)
        self.reserve()
        try:
            self._put(question)
            return await question.future
        finally:
            question.cancelled = True
            self.release()

    def wake(self) -> None:
        """Steps have something to do; 503 while the server stops."""
        with self._changed:
            self._start()
            self._woken = True
            self._changed.notify()

    def tell(self, loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function in an event loop, together with all others of this turn; from the engine's thread."""
        self._told.setdefault(loop, []).append((function, arguments))

    def stop(self) -> None:
        """End all work with an error, and the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait for the thread after `stop`."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _put(self, question: "_Question") -> None:
        with self._changed:
            self._start()
            self._waiting.append(question)
            self._changed.notify()

    def _start(self) -> None:
        if self._stopping:
            raise stopping()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lmkit-engine", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        import torch

        if self._threads is not None:
            torch.set_num_threads(self._threads)
        delivered = 0.0
        busy = False
        with torch.no_grad():
            while True:
                with self._changed:
                    while not (self._waiting or self._woken or busy or self._stopping):
                        self._changed.wait()
                    self._woken = False
                    if self._stopping:
                        break
                self._answer()
                self._flush()
                deliver = time.monotonic() - delivered >= BETWEEN
                busy = sum(self._turn(steps, deliver) for steps in self._steps) > 0
                delivered = time.monotonic() if deliver else delivered
                self._flush()
        self._end()

    def _turn(self, steps: Steps, deliver: bool) -> bool:
        try:
            busy = steps.step()
            if deliver:
                steps.deliver()
        except Exception as error:
            steps.stop(as_api_error(error))
            return True
        return busy

    def _answer(self) -> None:
        """Answer questions for a while."""
        begun = time.monotonic()
        while self._waiting and time.monotonic() - begun < QUESTIONS:
            with self._changed:
                question = self._waiting.popleft()
            if not question.cancelled:
                question.answer(self)

    def _flush(self) -> None:
        for loop, calls in self._told.items():
            with contextlib.suppress(RuntimeError):  # a loop that is closed, whose clients have gone
                loop.call_soon_threadsafe(_call_all, calls)
        self._told = {}

    def _end(self) -> None:
        error = stopping()
        for question in self._waiting:
            question.fail(self, error)
        self._waiting.clear()
        for steps in self._steps:
            steps.stop(error)
        self._flush()


class _Question:
    """A function to call, and where its result goes."""

    def __init__(
        self, future: "asyncio.Future[Any]", function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self.future = future
        self.function = function
        self.arguments = arguments
        self.cancelled = False

    def answer(self, engine: Engine) -> None:
        try:
            result = self.function(*self.arguments)
        except Exception as error:
            self.fail(engine, error)
            return
        engine.tell(self.future.get_loop(), _settle, self.future, result, None)

    def fail(self, engine: Engine, error: Exception) -> None:
        engine.tell(self.future.get_loop(), _settle, self.future, None, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _call_all(calls: list[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
    for function, arguments in calls:
        function(*arguments)
