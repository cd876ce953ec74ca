"""`python -m jaxvision.inspect`: see `jaxvision/cli/`."""

import sys

from jaxvision.cli.inspect import main

if __name__ == '__main__':
    sys.exit(main())
