"""`python -m jaxvision.calibrate`, which is the same as `jaxvision calibrate`."""

import sys

from jaxvision.cli.calibrate.command import main

if __name__ == '__main__':
    sys.exit(main())
