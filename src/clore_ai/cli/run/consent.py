"""Shows what would be uploaded to the machine, and asks if that may be unsafe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values import sizes
from clore_ai.cli import output
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.jobs import Spec
    from clore_ai.jobs.upload.contents import Contents, Upload

_LINES, _MOST_SECRETS = 20, 100


def agreed(spec: Spec, home: Path, *, yes: bool, resends: bool) -> Upload:
    """Show and return what to upload of the job's folder; nothing has been sent or rented yet.

    `home`: the state folder. `yes`: don't ask; the options must allow everything. `resends`: the
    job's outputs may go to a second machine.
    """
    from clore_ai.jobs.upload import contents
    from clore_ai.jobs.upload.words import OPTIONS

    found = contents.look(spec.folder, spec.outputs, spec.consent, home, OPTIONS, resends=resends)
    _show(found)
    why = found.why_not(spec.consent, OPTIONS)
    if why is None:
        return found.upload
    if yes or not output.somebody() or len(found.secrets) > _MOST_SECRETS:  # too many to read
        raise InvalidInputError(why)
    output.ask(f"{why}\nUpload all of it?", "nothing was sent")
    return found.upload


def _show(found: Contents) -> None:
    """Print the upload as lines of the plan."""
    if not found.count:
        output.facts(("upload", "nothing: the folder is empty, or all of it is ignored"))
        return
    files = sizes.counted(found.count, "file")
    biggest = ", ".join(f"{name} {sizes.in_words(size)}" for name, size in found.biggest)
    most = f"; biggest folders: {biggest}" if biggest else ""
    output.facts(("upload", f"{files}, {sizes.in_words(found.size)}{most}"))
    _list("secret?", found.secrets, _MOST_SECRETS)  # all that the question covers
    _list("link", [f"{name} leads outside, and goes as a link" for name in found.strays])


def _list(name: str, lines: list[str], most: int = _LINES) -> None:
    output.facts(*((name, line) for line in lines[:most]))
    if len(lines) > most:
        output.facts((name, f"and {len(lines) - most:,} more"))
