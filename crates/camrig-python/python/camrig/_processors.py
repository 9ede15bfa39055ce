"""Base classes of processors."""


class Processor:
    """A processor of a topology: a subclass with `process`, in the script that the topology names.

    Annotated attributes are its options: `threshold: float = 0.5`. They are set before `__init__`, which takes no
    arguments.
    """

    def process(self, frames, out):
        """Processes one frameset of the inputs; called with one at a time. Publishes through `out`."""
        raise NotImplementedError

    def finish(self, out):
        """Called once, after the last frameset."""


class MatchProcessor:
    """As `Processor`, for matches: one frameset of each input, taken at the same instant. Its topology has `match`."""

    def process(self, match, out):
        """Processes one match; called with one at a time. Publishes through `out`."""
        raise NotImplementedError

    def finish(self, out):
        """Called once, after the last match."""
