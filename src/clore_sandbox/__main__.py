"""`python -m clore_sandbox`: the marketplace in the foreground."""

import sys

from clore_sandbox.serve import main

sys.exit(main())
