"""`python -m pimsim.cli`."""

import sys

from pimsim.cli.app import main

sys.exit(main())
