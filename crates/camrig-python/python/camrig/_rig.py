"""Rigs that this interpreter runs, and loops over their framesets."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from camrig import _camrig, _status
from camrig._camrig import CamrigError

# The code that a worker runs. It removes the current folder from the module path: a file there must not replace one of the
# package.
BOOT = "import sys; sys.path[:] = filter(None, sys.path); from camrig import _worker; _worker."


def read(topology):
    """Returns the name and the text of a topology: of a file, or of a dict."""
    if not isinstance(topology, (str, os.PathLike)):
        return "dict", serialized(topology)
    try:
        return str(topology), Path(topology).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CamrigError(f"topology `{Path(topology)}` cannot be read: {error}") from error


def serialized(topology):
    """Returns a dict as the text of a topology file. Actors keep their order."""
    keys = table(topology, "a topology")
    actors = [(role, table(keys.pop(role, {}), f"`{role}`")) for role in ("camera", "processor")]
    tables = [keys] + [{role: {name: own}} for role, named in actors for name, own in named.items()]
    return "\n".join(_camrig.to_toml(json.dumps(it, default=plain)) for it in tables)


def table(given, what):
    if isinstance(given, Mapping):
        return dict(given)
    raise CamrigError(f"{what} is of the type `{type(given).__name__}`; expected a dict")


def plain(value):
    """Returns a value that JSON lacks as one that it has: paths, and numbers and arrays of NumPy."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise CamrigError(f"a value of the type `{type(value).__name__}` cannot be in a topology")


class Loop:
    """An iterator over the framesets, or the matches, of a running rig, with `for` as well as with `async for`."""

    def __init__(self, reader, leave):
        self._reader, self._leave = reader, leave
        # Of tasks that wait.
        self._waiting = {}

    @property
    def name(self):
        """Name of its actor in the status and the report."""
        return self._reader.name

    def __iter__(self):
        return self

    def __next__(self):
        taken = self._reader.take()
        if taken is None:
            raise StopIteration
        return taken

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            ended, taken = self._reader.poll()
            if taken is not None:
                return taken
            if ended:
                raise StopAsyncIteration
            await self._readable()

    async def _readable(self):
        loop, descriptor = asyncio.get_running_loop(), self._reader.fileno()
        ready = loop.create_future()
        waiting = self._waiting.setdefault(loop, [])
        if not waiting:
            loop.add_reader(descriptor, self._wake, waiting)
        waiting.append(ready)
        try:
            await ready
        finally:
            waiting.remove(ready)
            if not waiting:
                loop.remove_reader(descriptor)
                del self._waiting[loop]

    @staticmethod
    def _wake(waiting):
        for ready in waiting:
            ready.done() or ready.set_result(None)

    def close(self):
        """Ends the loop, and removes its actor from the rig."""
        self._reader.close()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(self._reader.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        # Absent if it could not be made.
        if getattr(self, "_reader", None) is not None:
            self.close()


def loop_settings(overflow, queue):
    return [("overflow", json.dumps(overflow)), ("queue", str(queue))]


def match_settings(window, clock, partial):
    millis = round(window * 1000)
    if abs(window * 1000 - millis) > 1e-6 or not 1 <= millis <= 10_000:
        raise ValueError(f"`window` is {window}; it must be 0.001 to 10 seconds in steps of 0.001")
    found = [("match.window_millis", str(millis)), ("match.missing", json.dumps("partial" if partial else "drop"))]
    return found + ([("match.clock", json.dumps(clock))] if clock is not None else [])


class Reads:
    """The common base of rigs of this interpreter and of others, which have `_actors()`, `_read(name, inputs, settings)`, `_leave`."""

    def frames(self, *inputs, overflow="drop-oldest", queue=2, name=None):
        """Iterates over the framesets of these actors; of all cameras without any.

        Before the start of the rig, the loop gets every frameset from the first one; otherwise those from now on.
        """
        return self._loop(name or "loop", inputs, loop_settings(overflow, queue))

    def matches(
        self, *inputs, window, clock=None, partial=False, overflow="drop-oldest", queue=2, name=None
    ):
        """Iterates over matches: one frameset of each input, at most `window` seconds apart."""
        settings = loop_settings(overflow, queue) + match_settings(window, clock, partial)
        return self._loop(name or "loop", inputs, settings)

    def _loop(self, name, inputs, settings):
        cameras, processors = self._actors()
        taken, own, number = {*cameras, *processors}, name, 1
        while own in taken:
            number += 1
            own = f"{name}-{number}"
        return Loop(self._read(own, list(inputs or cameras), settings), self._leave)


class Devices:
    """Options of cameras' devices, by `_rig`."""

    def controls(self, camera):
        """Returns the options of a camera's device that can be read while it runs, by their names."""
        return _status.controls(self._rig.controls(camera))

    def set(self, camera, options=None, /, **more):
        """Sets options of a camera's device while it runs; returns the resulting values."""
        found = {}
        for name, value in {**(options or {}), **{name.replace("_", "-"): it for name, it in more.items()}}.items():
            found[name] = json.loads(self._rig.set(camera, name, json.dumps(value, default=plain)))
        return found


class Rig(Reads, Devices):
    """A rig: cameras in processes of their own, and loops over their framesets in this one."""

    def __init__(self, topology, *, framesets=None, seconds=None):
        name, text = read(topology)
        worker = [sys.executable, "-c", f"{BOOT}serve()"]
        self._rig = _camrig.Rig(name, text, worker, framesets, seconds)
        self._report = None
        self._actors, self._leave = self._rig.actors, self._rig.leave

    def _read(self, name, inputs, settings):
        return self._rig.read(name, inputs, settings)

    def start(self):
        """Checks the topology, starts the rig, and waits until its framesets flow."""
        try:
            self._rig.start()
        except KeyboardInterrupt:
            self._rig.close_loops()
            # A worker that imports a script does not end in order.
            if self._rig.stop():
                self._rig.stop(now=True)
                self.wait()
            raise
        report = self.wait(0)
        if report is not None and report.failure and report.seconds == 0:
            raise CamrigError(report.failure)
        return self

    def stop(self):
        """Stops the rig in order: cameras first. Does not wait; loops get the framesets in flight, then end."""
        self._rig.stop()

    def wait(self, timeout=None):
        """Waits until the rig has ended, at most `timeout` seconds; returns its report, or `None`."""
        if self._report is None:
            text = self._rig.wait(timeout)
            self._report = None if text is None else _status.parse(_status.Report, text)
        return self._report

    def close(self):
        """Ends the loops, stops the rig in order and waits for its end."""
        self._rig.close_loops()
        self._rig.stop()
        try:
            return self.wait()
        except KeyboardInterrupt:
            self._rig.stop(now=True)
            self.wait()
            raise

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, _):
        report = self.close()
        # An error that only says that the rig has ended is replaced by the reason.
        if report.failure and (kind is None or issubclass(kind, CamrigError)):
            raise CamrigError(report.failure) from error

    @property
    def report(self):
        """The report; `None` while the rig runs."""
        return self._report

    @property
    def topology(self):
        """The topology that runs, as the text of a file."""
        return self._rig.topology()

    def status(self):
        """Returns the present status, or the last one of a rig that has ended."""
        return _status.parse(_status.RigStatus, self._rig.status())

    def apply(self, topology):
        """Changes the running rig to another topology, a path or a dict; returns the changes."""
        return self._rig.apply(read(topology)[1])


def attach(rig=None):
    """Attaches to a running rig: by its topology, with or without folder and extension, or its process ID."""
    return Attached(rig)


class Attached(Reads, Devices):
    """A rig that another program runs, such as `camrig run`, and loops over its framesets in this one."""

    def __init__(self, rig=None):
        self._rig = _camrig.Attached(None if rig is None else str(rig))
        self._actors, self._leave = self._rig.actors, self._rig.leave

    def _read(self, name, inputs, settings):
        return self._rig.read(name, inputs, settings, [sys.executable, "-c", f"{BOOT}hand_over()"])

    @property
    def topology(self):
        """The topology that runs, as the text of a file."""
        return self._rig.topology()

    def status(self):
        """Returns the present status. Raises `CamrigError` if the rig has ended."""
        return _status.parse(_status.RigStatus, self._rig.status())

    def close(self):
        """Ends the loops, and detaches from the rig, which continues."""
        self._rig.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
