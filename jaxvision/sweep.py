"""`python -m jaxvision.sweep`, which is the same as `jaxvision sweep`.

`trial(config, workdir)` trains one trial, for programs that search on their own.
"""

import sys

from jaxvision.cli.sweep.command import main
from jaxvision.cli.sweep.trial import trial

__all__ = ['main', 'trial']

if __name__ == '__main__':
    sys.exit(main())
