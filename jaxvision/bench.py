"""`python -m jaxvision.bench`, which is the same as `jaxvision bench`."""

import sys

from jaxvision.cli.bench.command import main

if __name__ == '__main__':
    sys.exit(main())
