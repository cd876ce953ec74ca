"""`python -m jaxvision.bench`: see `jaxvision/cli/`."""

import sys

from jaxvision.cli.bench.command import main

if __name__ == '__main__':
    sys.exit(main())
