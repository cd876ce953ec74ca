"""jaxvision: image recognition in JAX, pure functions over one engine."""

__version__ = '0.1.0'


def load(workdir, step='last'):
    """Reopen a run: (task, variables, spec), with the weights of the 'last' or 'best' checkpoint
    or of a numbered one. `task.predict(variables, {'image': uint8 [B, H, W, C]})` answers."""
    from pathlib import Path

    # Imported here, so that importing a model stays light.
    from jaxvision.train import loop

    return loop.load(Path(workdir), step)
