"""The local Clore.ai marketplace: the same API, real SSH endpoints, no costs.

    from clore_sandbox import Sandbox

    with Sandbox() as sandbox:
        print(sandbox.base_url, sandbox.api_key)

Importing this package is cheap; the server is imported with `Sandbox`, on its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clore_sandbox.faults.journal import Entry
    from clore_sandbox.sandbox import Sandbox

__all__ = ["Entry", "Sandbox"]


def __getattr__(name: str) -> object:
    if name == "Sandbox":
        from clore_sandbox.sandbox import Sandbox

        return Sandbox
    if name == "Entry":
        from clore_sandbox.faults.journal import Entry

        return Entry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
