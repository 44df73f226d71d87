"""The options of `clore run` that describe a job, and the job that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clore_ai._ssh.copy import MOST_UPLOAD
from clore_ai.cli.options import bundle, order_options, read_size
from clore_ai.cli.options.length import Length

if TYPE_CHECKING:
    from clore_ai.jobs import Spec

max_output = click.option(
    "--max-output", type=read_size, metavar="SIZE",
    help="Maximum total size of the outputs, e.g. 200GB; more is not fetched. Default: 50GB.",
)  # fmt: skip
options = bundle(
    click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=".",
                 help="Working folder; default: the current folder."),
    click.option("--no-upload", is_flag=True, help="Upload nothing."),
    click.option("--send-secret", "send_secrets", multiple=True, metavar="FILE",
                 help="Upload this file although it looks like a secret, or a folder of such "
                     "files; repeatable."),
    click.option("--max-upload", type=read_size, default=MOST_UPLOAD, show_default=True,
                 metavar="SIZE", help="Ask before uploading more than this."),
    click.option("--yes-really", is_flag=True, help="Upload a folder that holds your home "
        "folder or the state folder; the state folder itself is never uploaded."),
    click.option("--output", "outputs", multiple=True, metavar="DIR",
                 help="Folder or file in the working folder to fetch while the job runs and at "
                     "its end; repeatable."),
    click.option("--fetch-every", type=Length(0.1), default="10s", show_default=True,
                 metavar="LENGTH", help="How often to fetch --output while the job runs."),
    max_output,
    click.option("--env-file", type=click.Path(path_type=Path, dir_okay=False),
                 help="File with variables of the job, one KEY=VALUE per line."),
    click.option("--setup", metavar="LINE|FILE",
                 help="A shell line to run first, or a requirements.txt to install."),
    click.option("--forward", "forwards", multiple=True, metavar="PORT",
                 help="Forward a port of the job to this machine; HERE:THERE uses another port "
                     "here; repeatable."),
    click.option("--detach", is_flag=True, help="Exit as soon as the job runs; a background "
        "process follows it to the end."),
    click.option("--lost-after", type=Length(endless=True), default="5m", show_default=True,
                 metavar="LENGTH",
                 help="The machine counts as lost when its SSH has not answered for this long "
                     "while the service answers."),
)  # fmt: skip
"""The options of a job, except ``--env``."""


def read(words: tuple[str, ...], given: dict[str, Any]) -> Spec:
    """The job that these options describe; nothing is sent."""
    from clore_ai import jobs

    path: Path | None = given["env_file"]
    env = {
        **({} if path is None else order_options.env_file(path)),
        **order_options.env(given["env"]),
    }
    consent = jobs.Consent(given["send_secrets"], given["max_upload"], given["yes_really"])
    return jobs.checked(
        words, given["folder"], given["outputs"], env, given["setup"], given["forwards"],
        consent,
    )  # fmt: skip
