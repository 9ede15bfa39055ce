"""Prints the difference of the mean depths of two cameras at the same instant: a processor with `match`."""

import camrig


class Pairs(camrig.MatchProcessor):
    def process(self, match: camrig.Match, out: camrig.Outlet) -> None:
        left, right = (frames.depth.meters().mean() for frames in match)
        print(f"match {match.number}: {left - right:+.3f} m")
