"""`python -m clore_ai` is `clore`."""

from clore_ai.cli import main

main()
