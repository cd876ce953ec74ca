"""`python -m jaxvision.corrupt`, which is the same as `jaxvision corrupt`."""

import sys

from jaxvision.cli.corrupt.command import main

if __name__ == '__main__':
    sys.exit(main())
