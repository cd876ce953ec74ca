"""`python -m jaxvision.certify`, which is the same as `jaxvision certify`."""

import sys

from jaxvision.cli.certify.command import main

if __name__ == '__main__':
    sys.exit(main())
