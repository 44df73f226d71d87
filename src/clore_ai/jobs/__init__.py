"""Jobs on rented machines: upload, start, stream, fetch, end. Written once, in asyncio.

A job does several things at once (its output streams while files are fetched), so this room is
built on top of the flows. The command line and both clients run it. Names are imported when they
are first used: most programs that make a client run no job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import attribute

if TYPE_CHECKING:
    from clore_ai.jobs.life import Life
    from clore_ai.jobs.output import Output
    from clore_ai.jobs.plan import Callbacks, Outcome, Plan, planned
    from clore_ai.jobs.reap.reaper import ReapEvent
    from clore_ai.jobs.reap.turns import Turns
    from clore_ai.jobs.spec import Spec, checked
    from clore_ai.jobs.store import Job, Jobs
    from clore_ai.jobs.unasked import attach, run, stop
    from clore_ai.jobs.upload.contents import Consent

__all__ = [
    "Callbacks",
    "Consent",
    "Job",
    "Jobs",
    "Life",
    "Outcome",
    "Output",
    "Plan",
    "ReapEvent",
    "Spec",
    "Turns",
    "attach",
    "checked",
    "planned",
    "run",
    "stop",
]

_MODULES = {
    "life": ("Life",),
    "output": ("Output",),
    "plan": ("Callbacks", "Outcome", "Plan", "planned"),
    "reap.reaper": ("ReapEvent",),
    "reap.turns": ("Turns",),
    "spec": ("Spec", "checked"),
    "store": ("Job", "Jobs"),
    "unasked": ("attach", "run", "stop"),
    "upload.contents": ("Consent",),
}


def __getattr__(name: str) -> object:
    return attribute(__name__, _MODULES, name)
