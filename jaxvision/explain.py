"""`python -m jaxvision.explain`, which is the same as `jaxvision explain`."""

import sys

from jaxvision.cli.explain.command import main

if __name__ == '__main__':
    sys.exit(main())
