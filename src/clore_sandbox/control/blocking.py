"""`Controls`: every control as a blocking method for any thread, with `Control`'s own signature."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeVar

from clore_sandbox.control import Control

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

__all__ = ["Controls"]

T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[Control, P], Coroutine[object, object, T]],
) -> Callable[Concatenate[Controls, P], T]:
    @functools.wraps(method)
    def call(controls: Controls, /, *args: P.args, **kwargs: P.kwargs) -> T:
        do = controls._do  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of this file
        return do(lambda control: method(control, *args, **kwargs))

    return call


class Controls:
    """The controls of a marketplace that runs in this process, for any thread.

    Each returns once it is done, and raises RuntimeError if the marketplace does not run.
    """

    clock = _blocking(Control.clock)
    speed = _blocking(Control.speed)
    jump = _blocking(Control.jump)
    advance = jump
    freeze = _blocking(Control.freeze)
    unfreeze = _blocking(Control.unfreeze)

    fault = _blocking(Control.fault)
    faults = _blocking(Control.faults)
    remove_fault = _blocking(Control.remove_fault)
    clear_faults = _blocking(Control.clear_faults)
    journal = _blocking(Control.journal)
    clear_journal = _blocking(Control.clear_journal)

    create_account = _blocking(Control.create_account)
    rotate_key = _blocking(Control.rotate_key)
    accounts = _blocking(Control.accounts)
    wallet = _blocking(Control.wallet)
    top_up = _blocking(Control.top_up)

    set_rented = _blocking(Control.set_rented)
    set_online = _blocking(Control.set_online)
    add_server = _blocking(Control.add_server)
    connect_server = _blocking(Control.connect_server)
    set_background_job = _blocking(Control.set_background_job)

    reset = _blocking(Control.reset)
    snapshot = _blocking(Control.snapshot)
    load = _blocking(Control.load)

    def _do(self, work: Callable[[Control], Coroutine[object, object, T]]) -> T:
        """Run `work` on the marketplace's event loop, and wait for what it returns."""
        raise NotImplementedError
