"""`python -m jaxvision.export`, which is the same as `jaxvision export`."""

import sys

from jaxvision.cli.export.command import main

if __name__ == '__main__':
    sys.exit(main())
