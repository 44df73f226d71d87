"""Jobs on rented machines: upload, start, stream, fetch, end. Written once, in asyncio.

A job does several things at once (its output streams while files are fetched), so this room is
built on top of the flows. The command line and both clients run it.
"""

from clore_ai.jobs.life import Life
from clore_ai.jobs.output import Output
from clore_ai.jobs.plan import MOST_OUTPUT, Callbacks, Outcome, Plan, planned
from clore_ai.jobs.spec import Spec, checked
from clore_ai.jobs.store import Job, Jobs
from clore_ai.jobs.unasked import attach, run, stop
from clore_ai.jobs.upload.contents import MOST, Consent

__all__ = [
    "MOST",
    "MOST_OUTPUT",
    "Callbacks",
    "Consent",
    "Job",
    "Jobs",
    "Life",
    "Outcome",
    "Output",
    "Plan",
    "Spec",
    "attach",
    "checked",
    "planned",
    "run",
    "stop",
]
