"""`python -m jaxvision.export`: see `jaxvision/cli/`."""

import sys

from jaxvision.cli.export.command import main

if __name__ == '__main__':
    sys.exit(main())
