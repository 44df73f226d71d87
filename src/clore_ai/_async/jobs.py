"""`AsyncJobCalls`: a client that runs jobs on rented machines, and returns to them later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clore_ai import jobs
from clore_ai._async.records import AsyncRecords
from clore_ai._ssh.copy import MOST_OUTPUT, MOST_UPLOAD
from clore_ai._values.secrets import hide
from clore_ai.rental import options


class AsyncJobCalls(AsyncRecords):
    """A client that runs jobs; their records and logs are in the state folder."""

    async def run(
        self,
        command: str | Sequence[str],
        order_id: int | None = None,
        *,
        gpu: str | Sequence[str] | None = None,
        rent: options.RentOptions | None = None,
        folder: str | Path = ".",
        outputs: Sequence[str] = (),
        env: dict[str, str] | None = None,
        setup: str | None = None,
        cancel: bool | None = None,
        detach: bool = False,
        retry_on_host_loss: bool = False,
        on_output: Callable[[bytes], object] | None = None,
        on_message: Callable[[str], object] | None = None,
        upload: bool = True,
        send_secrets: Sequence[str] = (),
        max_upload: str = MOST_UPLOAD,
        yes_really: bool = False,
        forwards: Sequence[str] = (),
        fetch_every_s: float = 10.0,
        lost_after_s: float = 300.0,
        max_output: str = MOST_OUTPUT,
    ) -> jobs.Job:
        """Run a command on an order, or on a machine rented for it. Returns the job's record.

        As ``clore run`` does: the folder is uploaded, the command runs, its output is streamed, and
        the outputs are fetched. `code` in the record is the command's own exit code. A dropped
        connection does not end the job and is reopened. Meanwhile the order's limits are enforced
        and its spot bid is kept. Records and logs of jobs are in the state folder (docs/run.md).

        Args:
            command: a single string is a line for the machine's shell; several words are quoted.
            order_id: the order to run on; its SSH is waited for. None: the best server that fits
                `gpu` and `rent` is rented, as by `rent`, and cancelled at the end.
            gpu: a part of the name of the GPU to rent, or several alternatives.
            rent: the other conditions, e.g. ``{"max_price_usd": 0.5, "max_cost_usd": 2}``.
            folder: the working folder; what git or a ``.cloreignore`` ignores is not uploaded.
            outputs: folders or files in it that are fetched while the job runs and at its end.
            env: variables; they are in no record and on no command line.
            setup: a line to run before the command, or a file of requirements (``….txt``).
            cancel: cancel the order at the end, however the job ends; None: if it was rented here.
            detach: return once the job runs. A background process watches it to its end.
            retry_on_host_loss: if the rented machine is lost, start again on another one, with the
                outputs so far; `max_cost_usd` applies to all of them together.
            on_output: called with the job's output as it comes, standard output and errors in one.
            on_message: called with each sentence that ``clore run`` would print.
            upload: upload the folder.
            send_secrets: files that look like secrets and may be uploaded, or folders of such
                files, below the working folder.
            max_upload: the most that may be uploaded, e.g. ``2GB``.
            yes_really: `folder` may contain your home folder, or the state folder, which itself is
                never uploaded.
            forwards: ports of the job to forward to this machine: ``PORT`` or ``HERE:THERE``.
            fetch_every_s: seconds between two fetches of the outputs while the job runs.
            lost_after_s: seconds of silent SSH after which the machine is lost, while the service
                answers.
            max_output: the total size that is fetched, e.g. ``200GB``.

        Raises:
            InvalidInputError: the options are invalid, or a secret or too much would be uploaded;
                nothing was sent or rented, and the order stays.
            NoOffer, RentFailed, BudgetError, OrderUncertain: there is no machine, as in `rent`.
            LimitReached: the order reached its lease's end or its cost limit: the job was
                stopped, its outputs were fetched, and the order was cancelled.
            CloreAPIError: the job failed; the record's `state` says how far it got.
        """
        words = [command] if isinstance(command, str) else command
        consent = jobs.Consent.of(send_secrets, max_upload, really=yes_really)
        spec = jobs.checked(words, Path(folder), outputs, hide(env), setup, forwards, consent)
        plan = jobs.planned(
            order_id, gpu, rent, cancel=cancel, detach=detach, retries=retry_on_host_loss,
            fetch_every_s=fetch_every_s, lost_after_s=lost_after_s, max_output=max_output,
        )  # fmt: skip
        callbacks = jobs.Callbacks.of(on_output, on_message)
        return await self.in_loop(
            lambda engine: jobs.run(engine, spec, plan, callbacks, upload=upload)
        )

    async def my_jobs(self) -> list[tuple[jobs.Job, str]]:
        """The jobs of this account, oldest first, each with how it stands now, as ``clore jobs``.

        That is `state` of the record, but of one that runs: ``watched`` by a process here,
        ``running``, ``done`` or ``died`` with nobody to settle it, ``gone`` with its order, or
        ``unknown``.
        """
        from clore_ai.jobs import status

        return await self.in_loop(status.listed)

    async def job_output(
        self, job_id: int, on_output: Callable[[bytes], object], *, follow: bool = False
    ) -> None:
        """Hand on what a job has written, from the beginning; with `follow` until it has ended.

        Raises:
            NotFoundError: there is no such job.
            CloreAPIError: it runs, and its machine can't be reached.
        """
        from clore_ai.jobs import status

        await self.in_loop(lambda engine: status.output(engine, job_id, on_output, follow=follow))

    async def attach(
        self,
        job_id: int,
        *,
        on_output: Callable[[bytes], object] | None = None,
        on_message: Callable[[str], object] | None = None,
    ) -> jobs.Job:
        """Follow a job to its end, as ``clore attach``: one detached, or whose process was stopped.

        Raises:
            NotFoundError: there is no such job.
            InvalidInputError: another process watches it from a terminal.
            LimitReached, CloreAPIError: as in `run`.
        """
        callbacks = jobs.Callbacks.of(on_output, on_message)
        return await self.in_loop(lambda engine: jobs.attach(engine, job_id, callbacks))

    async def stop(
        self, job_id: int, *, on_message: Callable[[str], object] | None = None
    ) -> jobs.Job:
        """End a job, fetch its outputs, and cancel its machine if `run` would have; its record.

        If another process watches it, that one does the rest; then the record is from before.

        Raises:
            NotFoundError: there is no such job.
            CloreAPIError: its order is no more, or can't be reached.
        """
        callbacks = jobs.Callbacks.of(None, on_message)
        return await self.in_loop(lambda engine: jobs.stop(engine, job_id, callbacks))

    async def reap(
        self,
        *,
        every: float | None = None,
        timeout: float | None = None,
        dry_run: bool = False,
        on_event: Callable[[jobs.ReapEvent], object] | None = None,
    ) -> list[jobs.ReapEvent]:
        """Cancel the orders past their lease or cost limit, as ``clore reap``. Returns the events.

        Time and cost are as the service reports them. Jobs that no process watches are taken over
        by a background process, which also ends the orders of its job. Without `every` this happens
        once, and jobs that have ended are waited for until they are settled.

        Args:
            every: seconds between checks; the orders whose limits are near are reported, too, and
                errors of the network or the service are retried. Meanwhile no background process
                of the key does the same (docs/spending.md).
            timeout: with `every`, seconds until it returns; None for no end.
            dry_run: only report what is past its limit; cancel nothing.
            on_event: called with each event; see `clore_ai.jobs.ReapEvent`.

        Raises:
            CloreAPIError: without `every`, the orders can't be read.
            AuthError: the key is refused.
            ConfigError: the ledger can't be read.
            ValueError: `every` or `timeout` is not above 0.
        """
        from clore_ai.jobs.reap import reap

        return await self.in_loop(
            lambda engine: reap.reap(engine, every, timeout, on_event, dry_run=dry_run)
        )
