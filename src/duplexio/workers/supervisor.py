"""The process that starts the workers of a port, and starts others in the place of those that end or stand still.

It binds, and serves nothing. Each worker is the same command again, in a process of its own: what is imported is new
then, so that replacing them one by one is how a new version of the program gets in.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from types import FrameType
from typing import IO

from duplexio.errors import ConfigurationError
from duplexio.workers.loads import Loads, shared_memory
from duplexio.workers.supervised import READY, STACK_SIGNAL, VARIABLE

__all__ = ["START_TIMEOUT", "WORKER_TIMEOUT", "Supervisor", "check_workers"]

logger = logging.getLogger("duplexio")

#: Seconds without a sign of life after which a worker is replaced. Its loop serves nobody in the meantime.
WORKER_TIMEOUT = 30.0
#: Seconds without one after which the others do not wait for it with new connections.
SILENT = 3.0
#: Seconds until a worker has to serve: imports that load a large model take one or two minutes.
START_TIMEOUT = 300.0
#: Seconds that a worker has to end, after it was told. Its sessions' drain and its requests' time are far shorter; this
#: is for what the program does in its lifespan.
END_TIMEOUT = 300.0
#: Seconds between looks at what has become late.
TICK = 0.25
#: Seconds that a worker has to have served for its end not to be taken for one of its start's.
SETTLED = 5.0
#: Seconds in front of a new attempt, after one that failed at start and after many.
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
#: Seconds for the stack of a worker that stands still to be written.
STACK_TIME = 0.5
#: How much of it is logged: some hundred threads.
MAX_STACK = 65_536

#: Seconds in which whoever tells of a closed terminal may do so again: the kernel, and the shell.
HANGUP_SECONDS = 2.0

#: The exit code where the first worker cannot serve.
FAILED = 3


def check_workers(workers: object, worker_timeout: object) -> None:
    """Raises ConfigurationError for numbers that cannot be."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigurationError(f"workers={workers!r}: expected a number of at least 1")
    if workers > 1 and not hasattr(os, "fork"):
        raise ConfigurationError(f"workers={workers}: several workers need Linux or macOS")
    if isinstance(worker_timeout, bool) or not isinstance(worker_timeout, int | float) or not worker_timeout >= 2:
        raise ConfigurationError(
            f"worker_timeout={worker_timeout!r}: expected at least 2 s; workers beat once a second"
        )


def delay_before(failures: int) -> float:
    """Seconds in front of the next attempt, after so many that have failed."""
    # Not doubled for ever: after a night of failing, no float holds it.
    return min(FIRST_DELAY * 2.0 ** min(failures - 1, 10), LONGEST_DELAY)


class _Worker:
    """A process, from its start to its end."""

    __slots__ = ("ending", "heard", "killed", "pipe", "place", "process", "ready", "stack", "started", "stuck")

    def __init__(self, process: subprocess.Popen[bytes], place: int, pipe: int, stack: IO[bytes]) -> None:
        self.process = process
        #: In the loads, for as long as it lives.
        self.place = place
        self.pipe = pipe
        self.stack = stack
        self.started = self.heard = time.monotonic()
        #: Since when it serves; 0.0: not yet.
        self.ready = 0.0
        #: Since when it is to end; 0.0: it is not.
        self.ending = 0.0
        #: When it was asked for its stack.
        self.stuck = 0.0
        self.killed = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        self.ending = time.monotonic()
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.killed = True
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def lives(self, now: float) -> None:
        """It is as good as heard of: whatever was thought of its silence is forgotten."""
        self.heard = now
        if self.stuck and not self.killed:
            self.stuck = 0.0
            self.stack.seek(0)
            self.stack.truncate()

    def forget(self) -> None:
        os.close(self.pipe)
        self.stack.close()


class _Slot:
    """One of the workers that there are to be."""

    __slots__ = ("failures", "new", "not_before", "old", "worker")

    def __init__(self) -> None:
        self.worker: _Worker | None = None
        #: While it is replaced: who is to come, and who is to go.
        self.new: _Worker | None = None
        self.old: _Worker | None = None
        self.failures = 0
        self.not_before = 0.0


class Supervisor:
    """Runs in the main thread of a process that does nothing else."""

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sequence[socket.socket],
        workers: int,
        worker_timeout: float = WORKER_TIMEOUT,
    ) -> None:
        """`command` is started `workers` times, with `sockets`, which listen already or will."""
        self._command = list(command)
        self._sockets = list(sockets)
        self._worker_timeout = worker_timeout
        self._slots = [_Slot() for _ in range(workers)]
        # While one is replaced there are two of it.
        self._places = range(workers * 2)
        self._loads_memory = shared_memory(len(self._places))
        self._loads = Loads(self._loads_memory)
        self._rolling: deque[_Slot] = deque()
        self._signals: deque[int] = deque()
        self._ended_by = 0
        self._code = 0
        self._looked = time.monotonic()
        #: Whether any worker has ever served: until then a failure is the program's, and no other attempt is made.
        self._served = False
        self._has_terminal = _has_terminal()
        self._hung_up_at = -math.inf
        #: As by `nohup`.
        self._ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def run(self) -> int:
        """Until it is told to end, and all workers have. Returns the exit code; SIGTERM is passed on, as by uvicorn."""
        logger.info("supervisor %d of %d workers", os.getpid(), len(self._slots))
        woken, wake = socket.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, self._signalled) for number in numbers}
        wake_before = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            # One first: what keeps it from serving would keep the others, and is said once.
            self._start_first()
            while not self._done():
                self._listen(woken)
                self._heed_signals()
                self._reap()
                self._look_at_the_late()
                # A shell does not tell those that it has disowned: SIGHUP is somebody's wish then.
                self._look_at_terminal()
                self._fill()
                self._roll()
        finally:
            for worker in self._workers():
                worker.kill()
                worker.process.wait()
                worker.forget()
            signal.set_wakeup_fd(wake_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            woken.close()
            wake.close()
            os.close(self._loads_memory)
        logger.info("supervisor %d has ended", os.getpid())
        if self._ended_by == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        return self._code

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _workers(self) -> list[_Worker]:
        return [worker for slot in self._slots for worker in (slot.worker, slot.new, slot.old) if worker is not None]

    def _done(self) -> bool:
        return bool(self._ended_by or self._code) and not self._workers()

    # What happens.

    def _start(self) -> _Worker:
        """Raises OSError where there is no room for one more: of descriptors, processes, or on the disk."""
        place = min(set(self._places).difference(worker.place for worker in self._workers()))
        with contextlib.ExitStack() as undo:
            stack = undo.enter_context(tempfile.TemporaryFile())
            read, write = os.pipe()
            undo.callback(os.close, read)
            passed = [write, stack.fileno(), self._loads_memory, *(listener.fileno() for listener in self._sockets)]
            try:
                process = subprocess.Popen(
                    self._command,
                    env={**os.environ, VARIABLE: ",".join(map(str, (place, *passed)))},
                    stdin=subprocess.DEVNULL,
                    pass_fds=passed,
                    # Ctrl+C is the supervisor's to hear: it tells the workers.
                    process_group=0,
                )
            finally:
                os.close(write)
            # They are the worker's, for as long as that lives.
            undo.pop_all()
        os.set_blocking(read, False)
        return _Worker(process, place, read, stack)

    def _start_first(self) -> None:
        try:
            self._slots[0].worker = self._start()
        except OSError as error:
            logger.error("the first worker could not be started: %s", error)
            self._code = FAILED

    def _listen(self, woken: socket.socket) -> None:
        pipes = {worker.pipe: worker for worker in self._workers()}
        # poll() has no limit on the numbers of descriptors.
        poll = select.poll()
        for descriptor in (woken.fileno(), *pipes):
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(TICK * 1000):
            if descriptor == woken.fileno():
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
                continue
            self._hear(pipes[descriptor])

    def _hear(self, worker: _Worker) -> None:
        try:
            said = os.read(worker.pipe, 65_536)
        except BlockingIOError:
            return
        if not said:
            # It is about to be gone; do not come back at once for that.
            time.sleep(0.01)
            return
        worker.lives(time.monotonic())
        if READY in said and not worker.ready:
            worker.ready = worker.heard
            self._served = True

    def _heed_signals(self) -> None:
        while self._signals:
            number = self._signals.popleft()
            if number == signal.SIGHUP and self._is_hangup():
                if not (self._ignores_hangup or self._ended_by):
                    self._told_to_end(number)
            elif number == signal.SIGHUP and not self._ended_by:
                logger.info("SIGHUP: the workers are replaced one by one")
                self._rolling = deque(slot for slot in self._slots if slot.worker is not None)
                self._give_up_new()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._told_to_end(number)

    def _is_hangup(self) -> bool:
        """Whether SIGHUP says that the terminal was closed, which nobody means as a wish for new workers."""
        self._look_at_terminal()
        return time.monotonic() - self._hung_up_at < HANGUP_SECONDS

    def _look_at_terminal(self) -> None:
        if self._has_terminal and not _has_terminal():
            self._has_terminal, self._hung_up_at = False, time.monotonic()

    def _give_up_new(self) -> None:
        """Whoever is starting may be of the version before, or of one that does not start."""
        for slot in self._slots:
            if slot.new is not None:
                # While one is to come, none is to go.
                slot.old, slot.new = slot.new, None
                slot.old.end()

    def _told_to_end(self, number: int) -> None:
        if self._ended_by:
            logger.warning("%s again: the workers are killed", signal.Signals(number).name)
            for worker in self._workers():
                worker.kill()
            return
        self._ended_by = number
        self._end_all()

    def _end_all(self) -> None:
        self._rolling.clear()
        for listener in self._sockets:
            # Whoever knocks is to be refused when the last worker has closed its own.
            listener.close()
        for worker in self._workers():
            if not worker.ending:
                worker.end()

    def _reap(self) -> None:
        for slot in self._slots:
            for place in ("worker", "new", "old"):
                worker: _Worker | None = getattr(slot, place)
                if worker is not None and worker.process.poll() is not None:
                    worker.forget()
                    self._loads.leave(worker.place)
                    setattr(slot, place, None)
                    if not (self._ended_by or self._code):
                        self._ended(slot, place, worker)

    def _ended(self, slot: _Slot, place: str, worker: _Worker) -> None:
        how = _how(worker.process.returncode)
        if place == "old":
            logger.info("worker %d has ended", worker.pid)
        elif place == "new":
            logger.error("worker %d, which was to replace another, %s; the others stay as they are", worker.pid, how)
            self._rolling.clear()
        elif not self._served:
            logger.error("the first worker %s before it served anybody", how)
            self._code = worker.process.returncode if worker.process.returncode > 0 else FAILED
            self._end_all()
        else:
            settled = worker.ready and time.monotonic() - worker.ready >= SETTLED
            slot.failures = 0 if settled else slot.failures + 1
            # One that has served is missed; only one that does so again and again is not worth the hurry.
            hurry = worker.ready and slot.failures <= 1
            delay = 0.0 if hurry else delay_before(slot.failures)
            slot.not_before = time.monotonic() + delay
            again = f" in {delay:g} s" if delay else ""
            logger.error("worker %d %s; another is started%s", worker.pid, how, again)

    # What is to be done.

    def _look_at_the_late(self) -> None:
        now, before = time.monotonic(), self._looked
        self._looked = now
        if now - before > self._worker_timeout / 2:
            # This process was stopped, and nobody knows about the others: each has its time again.
            for worker in self._workers():
                worker.lives(now)
        for worker in self._workers():
            if worker.killed:
                continue
            if now - worker.heard > SILENT:
                self._loads.leave(worker.place)
            if worker.stuck:
                if now - worker.stuck >= STACK_TIME:
                    worker.stack.seek(0)
                    stack = worker.stack.read(MAX_STACK).decode("utf-8", "replace").strip()
                    silent = now - worker.heard
                    logger.error("worker %d has stood still for %.0f s, and is killed. %s", worker.pid, silent, stack)
                    worker.kill()
            elif worker.ready and now - worker.heard > self._worker_timeout:
                worker.stuck = now
                worker.signal(STACK_SIGNAL)
            elif not worker.ready and now - worker.started > START_TIMEOUT:
                logger.error("worker %d does not serve after %g s, and is killed", worker.pid, START_TIMEOUT)
                worker.kill()
            elif worker.ending and now - worker.ending > END_TIMEOUT:
                logger.error("worker %d has not ended in %g s, and is killed", worker.pid, END_TIMEOUT)
                worker.kill()

    def _fill(self) -> None:
        if self._ended_by or self._code or not self._served:
            return
        now = time.monotonic()
        for slot in self._slots:
            if slot.worker is None and slot.new is None and now >= slot.not_before:
                try:
                    slot.worker = self._start()
                except OSError as error:
                    slot.failures += 1
                    delay = delay_before(slot.failures)
                    slot.not_before = now + delay
                    logger.error("a worker could not be started: %s; it is tried again in %g s", error, delay)

    def _roll(self) -> None:
        """One after the other: the next serves before the last is told to end, and that one has ended before the next
        but one is started."""
        if not self._rolling:
            return
        slot = self._rolling[0]
        if slot.new is not None:
            if slot.new.ready:
                slot.old, slot.worker, slot.new = slot.worker, slot.new, None
                if slot.old is not None:
                    slot.old.end()
                self._rolling.popleft()
        elif all(other.old is None for other in self._slots):
            try:
                slot.new = self._start()
            except OSError as error:
                logger.error("a worker could not be started: %s; the others stay as they are", error)
                self._rolling.clear()


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is there, as far as is known."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        # Where there is no descriptor left, nothing is known; and SIGHUP is no reason to end.
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return True


def _how(code: int) -> str:
    """What its exit code says of a process' end."""
    if code >= 0:
        return f"has ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
