"""The actors: the work of a user's process, with the real clients, in a forked child.

Time is scaled: the client's waits, minutes on the live service, are a thirtieth or less here. The
rest is unchanged.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from clore_ai import AsyncCloreAI, CloreAI
from clore_ai._api.waits import WAITS
from clore_ai._io.async_driver import AsyncDriver
from clore_ai._io.driver import Driver
from clore_ai.exceptions import CloreAPIError, OrderUncertain

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._io.stops import Stops

    from .plan import Plan

BOOT_S = 1.5
PASSWORD = "Schedule123"


def scale() -> None:
    """Shorten the client's waits; call it once, before the first fork."""
    WAITS.look_for_s, WAITS.nothing_came_after_s, WAITS.backoff_s = 1.0, 3.0, 0.03


class _Steps:
    """Counts a flow's steps, and stops the process at one of them."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.count = plan, 0

    @property
    def interrupts_now(self) -> bool:
        """Whether the next event before this step is Ctrl-C."""
        return self.plan.stop == "interrupt" and self.plan.at_step == self.count

    def next(self) -> None:
        """Call before each step."""
        self.count += 1
        if self.plan.stop and self.plan.at_step == self.count:
            if self.plan.stop == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.plan.stop == "interrupt":
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            else:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()


class _Driver(Driver):
    steps: _Steps

    def _perform(self, step: Any, stops: Stops) -> Any:
        self.steps.next()
        if self.steps.interrupts_now:  # the main thread gets the signal in an instant
            while not stops.came():
                time.sleep(0.001)
        return super()._perform(step, stops)


class _AsyncDriver(AsyncDriver):
    steps: _Steps

    async def _perform(self, step: Any) -> Any:
        self.steps.next()
        return await super()._perform(step)


class Report:
    """The actor's findings, written to disk at once, as a kill -9 may follow."""

    def __init__(self, path: Path) -> None:
        self.path, self.facts = path, {}

    def read(self) -> dict[str, Any]:
        """The findings on disk."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def __call__(self, **facts: Any) -> None:
        self.facts |= facts
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.facts))
        part.replace(self.path)


def wish(plan: Plan, server: int) -> dict[str, Any]:
    """The arguments of `create_order`."""
    return {
        "server_id": server,
        "image": "cloreai/ubuntu22.04-cuda12",
        "type": plan.kind,
        "currency": "bitcoin",
        "ssh_password": PASSWORD,
        "ports": {"22": "tcp"},
        "spot_price": 0.0009 if plan.kind == "spot" else None,
        "client_ref": plan.ref,
    }


def fails(report: Report, step: str, exc: BaseException) -> None:
    """Record the failure of a step; a Ctrl-C or a cancelled task is none."""
    if isinstance(exc, (KeyboardInterrupt, asyncio.CancelledError)):
        report(**{step: "stopped"})
    elif isinstance(exc, OrderUncertain):
        report(**{step: "uncertain"})
    elif isinstance(exc, CloreAPIError):
        report(**{step: "open" if exc.maybe_acted else "failed", "error": str(exc)})
    else:
        report(**{step: "crashed", "error": repr(exc)})


def sync(plan: Plan, server: int, folder: Path, report: Report) -> None:
    """`CloreAI`: create, wait, cancel."""
    with CloreAI(timeout=plan.timeout_s, state=folder) as client:
        driver = client._driver
        driver.__class__, driver.steps = _Driver, _Steps(plan)  # type: ignore[attr-defined]
        step = "create"
        try:
            order = client.create_order(**wish(plan, server))
            report(create="done", order=order.id)
            if plan.waits:
                step = "wait"
                client.wait_for_ssh(order.id, BOOT_S)
                report(wait="done")
        except BaseException as exc:  # noqa: BLE001 - each is recorded
            fails(report, step, exc)
            if step == "create" or not isinstance(exc, CloreAPIError):
                return
        if plan.cancels:
            try:
                client.cancel_order(order.id)
                report(cancel="done")
            except BaseException as exc:  # noqa: BLE001 - each is recorded
                fails(report, "cancel", exc)


def async_(plan: Plan, server: int, folder: Path, report: Report) -> None:
    """`AsyncCloreAI`: the same."""

    async def main() -> None:
        task = asyncio.ensure_future(_async(plan, server, folder, report))
        if plan.stop == "cancel" and plan.after_s is not None:
            asyncio.get_running_loop().call_later(plan.after_s, task.cancel)
        await task

    try:
        asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError) as exc:
        if not report.facts:
            fails(report, "create", exc)


async def _async(plan: Plan, server: int, folder: Path, report: Report) -> None:
    async with AsyncCloreAI(timeout=plan.timeout_s, state=folder) as client:
        driver = client._driver
        driver.__class__, driver.steps = _AsyncDriver, _Steps(plan)  # type: ignore[attr-defined]
        step = "create"
        try:
            order = await client.create_order(**wish(plan, server))
            report(create="done", order=order.id)
            if plan.waits:
                step = "wait"
                await client.wait_for_ssh(order.id, BOOT_S)
                report(wait="done")
        except BaseException as exc:  # noqa: BLE001 - each is recorded
            fails(report, step, exc)
            if step == "create" or not isinstance(exc, CloreAPIError):
                return
        if plan.cancels:
            try:
                await client.cancel_order(order.id)
                report(cancel="done")
            except BaseException as exc:  # noqa: BLE001 - each is recorded
                fails(report, "cancel", exc)


def cli(plan: Plan, server: int, folder: Path, report: Report) -> None:
    """`clore deploy`, then `clore cancel`: the command line as it runs after Python's start."""
    words = ["deploy", server, "--image", "cloreai/ubuntu22.04-cuda12", "--type", plan.kind,
             "--currency", "bitcoin", "--ssh-password", PASSWORD, "--yes", "--json"]  # fmt: skip
    if plan.kind == "spot":
        words += ["--spot-price", "0.0009"]
    if plan.ref:
        words += ["--ref", plan.ref]
    if plan.waits:
        words += ["--wait", "--wait-timeout", BOOT_S]
    code, out, err = run_cli(words, folder)
    meant = {0: "done", 1: "failed", 8: "timed out", 9: "uncertain", 130: "stopped"}
    created = meant.get(code, "failed")
    if code == 1 and "acted on" in err:
        created = "open"
    order = json.loads(out)["id"] if code == 0 and out.startswith("{") else None
    report(create=created, error=err[-400:], exit=code, order=order)  # at once: a kill may follow
    if order is None:
        return
    if plan.cancels:
        code, _, err = run_cli(["cancel", order], folder)
        report(cancel={0: "done", 1: "open", 8: "open", 130: "stopped"}.get(code, "failed"))
        report(error=err[-400:], exit=code)


def run_cli(words: list[object], folder: Path) -> tuple[int, str, str]:
    """Run `clore WORDS` in this very process; exit code, stdout and stderr."""
    from clore_ai.cli import cli as clore
    from clore_ai.cli import errors

    os.environ["CLORE_HOME"] = str(folder)
    names = [folder.with_suffix(f".{os.getpid()}.{name}") for name in ("out", "err")]
    for number, name in zip((1, 2), names):
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    code = errors.run(clore, [str(word) for word in words])
    return code, names[0].read_text(), names[1].read_text()


ACTORS = {"sync": sync, "async": async_, "cli": cli}
