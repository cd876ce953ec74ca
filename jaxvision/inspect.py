"""`python -m jaxvision.inspect`, which is the same as `jaxvision inspect`."""

import sys

from jaxvision.cli.inspect import main

if __name__ == '__main__':
    sys.exit(main())
