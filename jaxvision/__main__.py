"""`python -m jaxvision COMMAND`: see `jaxvision/cli/`."""

import sys

from jaxvision.cli.command import main

if __name__ == '__main__':
    sys.exit(main())
