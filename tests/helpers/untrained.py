"""Runs that tests open, and that no one trained."""

from jaxvision.train import run


def save_untrained(config, workdir, change=None):
    """A run's folder as it is before the first step, its parameters changed by `change(params)`."""
    this = run.begin(config, workdir)
    run.take_folder(this)
    state = this.init()
    if change:
        change(state.params)
    with this.checkpoints() as checkpoints:
        checkpoints.save(state, {}, {})
        checkpoints.wait()
