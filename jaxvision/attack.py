"""`python -m jaxvision.attack`, which is the same as `jaxvision attack`."""

import sys

from jaxvision.cli.attack.command import main

if __name__ == '__main__':
    sys.exit(main())
