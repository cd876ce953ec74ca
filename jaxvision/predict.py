"""`python -m jaxvision.predict`: see `jaxvision/cli/`."""

import sys

from jaxvision.cli.predict.command import main

if __name__ == '__main__':
    sys.exit(main())
