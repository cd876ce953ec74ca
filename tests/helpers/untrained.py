"""Untrained runs for tests to open."""

from jaxvision.train.folder import take_folder
from jaxvision.train.run import begin


def save_untrained(config, workdir, change=None):
    """Save a run before its first step, with parameters changed in place by `change(params)`."""
    workdir.mkdir(exist_ok=True)
    this = begin(config, workdir)
    take_folder(this)
    state = this.init()
    if change:
        change(state.params)
    with this.checkpoints() as checkpoints:
        checkpoints.save(state, {}, {})
        checkpoints.wait()
