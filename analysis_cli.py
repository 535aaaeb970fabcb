"""``python analysis_cli.py COMMAND ...``: the command line without installation."""

import sys

from landscape.cli import main

if __name__ == "__main__":
    sys.exit(main())
