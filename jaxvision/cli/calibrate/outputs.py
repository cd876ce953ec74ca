"""The outputs of a classifier for all images of a split, or of other data."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.attribution import intermediates
from jaxvision.cli import runs
from jaxvision.cli.predict.model import prepare_image
from jaxvision.core.errors import UserError
from jaxvision.core.state import TrainState
from jaxvision.core.types import Batch, Example, Records, Split, Tree
from jaxvision.data.protocol import Source
from jaxvision.data.sources import Parts
from jaxvision.train import evaluation, saved, sharding
from jaxvision.train.run import Run

# Training images whose features are measured.
MOST_TRAINING = 5000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier(runs.Checkpoint):
    """A checkpoint of a classifier, whose outputs are computed for whole splits."""

    @functools.cached_property
    def layer(self) -> str:
        """The name of the last feature maps, or of the last tokens but one."""
        shape = self.run.spec.inputs['image'].shape
        network = functools.partial(self._network, self.state.variables)
        return intermediates.default_layers(network, jnp.zeros((1, *shape)))[0]

    def _network(self, variables: Tree, pixels: jax.Array):
        network = self.run.task.network
        return network.apply(variables, network.normalize(pixels))

    def outputs(self, split: Split, features: bool = False) -> Records:
        """Compute the outputs for a split.

        Args:
            split: 'train' (at most 5,000 images, spread evenly), 'validation' or 'test'.
            features: whether to add the means of the feature maps of `layer`.

        Returns:
            'logits' [N, K], 'label' [N] and perhaps 'features' [N, F].
        """
        source = self.run.sources[split]
        if split == 'train':
            source = evaluation.selected(source, split, MOST_TRAINING)
        return evaluation.gather_from(
            self.run, self._compiled(features, True), source, self.state
        )

    def outputs_of(self, source: Source) -> Records:
        """Compute 'logits' [N, K] and 'features' [N, F] for other images."""
        run = self.run

        def prepare(example: Example, rng: np.random.Generator | None) -> Example:
            prepared = prepare_image(run.task, run.spec, example['image'])
            return {'image': prepared['image']}

        return evaluation.gather_from(
            self.run,
            self._compiled(True, False),
            source,
            self.state,
            prepare=prepare,
        )

    def _compiled(self, features: bool, labels: bool) -> Callable:
        task = self.run.task

        def records(state: TrainState, batch: Batch) -> Batch:
            outputs = task.predict(state.variables, {'image': batch['image']})
            arrays = {'logits': outputs['logits'].astype(jnp.float32)}
            if labels:
                arrays['label'] = batch['label']
            if features:
                pixels = batch['image'].astype(jnp.float32) / 255
                _, found = self._network(state.variables, pixels)
                maps = found[self.layer].astype(jnp.float32)
                arrays['features'] = maps.mean(tuple(range(1, maps.ndim - 1)))
            return arrays

        return sharding.compile_evaluate(records, self.run.mesh, self.run.shapes)


def open_classifier(workdir: str, step: str) -> Classifier:
    """Open a checkpoint of a run with its data, and configure JAX for it.

    Args:
        workdir: the run folder.
        step: 'last', 'best' or a number.

    Raises:
        UserError: There is no such run or checkpoint, it is no classifier of images with
            one label an image, or it has no validation split.
    """
    opened = runs.reopen(workdir)
    runs.require_classifier(workdir, opened)
    if 'validation' not in opened.sources.splits:
        raise UserError(
            f'--workdir={workdir}: expected a run with a validation split, because the test '
            'split fits nothing. Train one with data.validation=10%.'
        )
    return Classifier(**vars(runs.restore(workdir, opened, step)))


def open_others(run: Run, ood: str, folder: str | None) -> Source:
    """Open images that the run was not trained for.

    Args:
        run: the run.
        ood: the folder of another run, whose test split is read, or a source.
        folder: `data.dir` of the source; None: that of the run.

    Returns:
        The test split, or what stands for it, see `data.sources.open_source`.

    Raises:
        UserError: There is no such source, or it has no images.
    """
    if Path(ood, 'config.json').exists():
        data = saved.read_config(Path(ood)).data
    else:
        data = run.config.data.copy_and_resolve_references()
        data.source = ood
        for field in ('images', 'train_split', 'test_split', 'validation'):
            data[field] = ''
        data.per_class = 0
        if folder is not None:
            data.dir = folder
    source = Parts(data).open('test')
    if 'image' not in source.info.holds:
        raise UserError(f'--ood={ood}: expected images. Give another source.')
    return source
