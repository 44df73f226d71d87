"""Three `marketplace()` calls in one gather (004's example): how many HTTP requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import Row

if TYPE_CHECKING:
    from bench.environment import Place
    from bench.setting import Setting

REQUESTS = 1


def measure(setting: Setting) -> list[Row]:
    """Count the requests at the marketplace."""
    found = [_count(setting, place) for place in setting.each()]
    cells = [f"{requests} request" + "s" * (requests != 1) for requests, _ in found]
    answers = " and ".join(answer for _, answer in found)
    return [
        Row(
            "3 marketplace() in one gather",
            cells[0],
            cells[1] if cells[1:] else "-",
            target=f"{REQUESTS} request",
            met=found[0][0] == REQUESTS,
            notes=[f"servers found by the three: {answers}."],
        )
    ]


def _count(setting: Setting, place: Place) -> tuple[int, str]:
    """The number of requests, and their results."""
    with setting.sandbox(limits=False) as sandbox:
        try:
            answer = str(setting.ask(place, "gather", sandbox))
        except RuntimeError as exc:
            if place is setting.places.ours:
                raise
            answer = f"none, it fails on this fleet ({exc})"
        return sum(entry.endpoint == "marketplace" for entry in sandbox.journal()), answer
