"""`python -m jaxvision.predict`, which is the same as `jaxvision predict`."""

import sys

from jaxvision.cli.predict.command import main

if __name__ == '__main__':
    sys.exit(main())
