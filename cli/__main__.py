"""`python -m serl_rt.cli`: the same as `serl-rt`, with this interpreter."""

import sys

from serl_rt.cli.main import main

sys.exit(main())
