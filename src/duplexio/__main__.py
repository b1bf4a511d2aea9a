"""`python -m duplexio` is the `duplexio` command."""

import sys

from duplexio.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
