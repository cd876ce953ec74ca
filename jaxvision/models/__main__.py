"""`python -m jaxvision.models`: see `jaxvision/cli/`."""

import sys

from jaxvision.cli.models import main

if __name__ == '__main__':
    sys.exit(main())
