"""`clore`, also as `python -m clore_ai`: Ctrl-C is handled before anything slow is imported."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import NoReturn

from clore_ai import _signals


def main() -> NoReturn:
    """Run the command line; exit with a documented code, never with a traceback."""
    with suppress(KeyboardInterrupt):  # the command has already reported it
        _signals.wait_for_imports()
        from clore_ai import cli

        cli.main()
    sys.exit(_signals.INTERRUPTED)


if __name__ == "__main__":
    main()
