"""`python -m jaxvision.main`, which is the same as `jaxvision train`."""

import sys

from jaxvision.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
