"""`python -m jaxvision COMMAND`, which is the same as `jaxvision COMMAND`."""

import sys

from jaxvision.cli.command import main

if __name__ == '__main__':
    sys.exit(main())
