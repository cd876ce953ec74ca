"""`python -m jaxvision.main`: see `jaxvision/cli/`."""

import sys

from jaxvision.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
