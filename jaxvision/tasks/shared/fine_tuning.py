"""Fine-tuning of parts of a classifier, and linear probes."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxvision.core import trees
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.state import TrainState
from jaxvision.core.task import Fit
from jaxvision.core.types import Batch, Module, Records, Tree
from jaxvision.losses import probe
from jaxvision.models import tuning

Shaped = Array | jax.ShapeDtypeStruct
Features = Callable[[Tree, Tree, Batch], Float[Array, 'b d']]
Targets = Callable[[Batch], Float[Array, 'b k']]

FIELDS: Fields = {
    'trained': Field(
        'all',
        "Parts that are trained: all; head; 'last 2': the last 2 blocks and the head; "
        "'lora 8': low-rank updates of rank 8 and the head.",
    ),
    'statistics': Field(
        'batch',
        'Batch norm in training: statistics of the batch, or the fixed running statistics.',
        choices=('batch', 'running'),
    ),
    'layer_decay': Field(
        1.0,
        'Layer decay: each block has the learning rate of the next block times this factor.',
        above=0,
        most=1,
    ),
    'probe': Field(
        0.0,
        'L2 penalty of the linear probe, which fits the head before step 1; 0: no probe.',
        least=0,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """A model of which all or some parts are trained.

    Attributes:
        model: a Flax module whose last layer is named 'head'.
        blocks: module names of each block, from first to last, the head at the end; empty
            if no option depends on blocks.
        trained: names of the trained modules; None: all.
        rank: rank of the low-rank updates (LoRA); 0: none.
        running: whether batch norms use their running statistics in training too.
        layer_decay: factor of the learning rate from each block to the previous block.
    """

    model: Module
    blocks: Sequence[tuple[str, ...]]
    trained: frozenset[str] | None
    rank: int
    running: bool
    layer_decay: float

    @classmethod
    def build(cls, options: Config, model: Module, *inputs: Shaped) -> 'Tuned':
        """Select the trained parts of a model by the fields of `FIELDS`.

        Args:
            options: `config.task`.
            model: a Flax module whose last layer is named 'head'.
            *inputs: the inputs of the model, or their shapes.

        Raises:
            UserError: `options.trained` is wrong, or a field needs blocks and the model has no
                module 'head'.
        """
        needs_blocks = (
            options.trained != 'all' or options.layer_decay < 1 or options.probe
        )
        blocks = []
        if needs_blocks:
            blocks = tuning.blocks(model, *inputs)
        count, rank = _parse_trained(options.trained, len(blocks))
        trained = None
        if options.trained != 'all':
            trained = frozenset(itertools.chain(*blocks[len(blocks) - count :]))
        return cls(
            model=model,
            blocks=blocks,
            trained=trained,
            rank=rank,
            running=options.statistics == 'running',
            layer_decay=options.layer_decay,
        )

    def init(self, key: PRNGKeyArray, *inputs: Array) -> tuple[Tree, Tree]:
        """Initialise the model and its low-rank updates.

        Returns:
            (parameters, model state). With LoRA, the parameters have the updates as 'lora',
            beside the names of modules. The model state is {collection: tree}.

        Raises:
            UserError: The rank is too large, or the model has no linear layer below the head.
        """
        variables = self.model.init(key, *inputs)
        params = variables.pop('params')
        if self.rank:
            dtype = params['head']['kernel'].dtype
            lora = tuning.low_rank(key, params, self.rank, dtype)
            params = {**params, 'lora': lora}
        return params, variables

    @property
    def frozen(self) -> list[str]:
        """Paths of the parts that are not trained, such as 'model/stem'."""
        if self.trained is None:
            return []
        names = itertools.chain(*self.blocks)
        return [f'model/{name}' for name in names if name not in self.trained]

    def apply(
        self, params: Tree, model_state: Tree, *inputs: Array, **kwargs: Any
    ) -> Tree:
        """Apply the model with its low-rank updates.

        Args:
            params: parameters of the model, with the low-rank updates as 'lora', if any.
            model_state: {collection: tree}, such as batch statistics.
            *inputs: inputs of the model, normalised.
            **kwargs: further arguments of `model.apply`.

        Returns:
            The result of `model.apply`: (logits, intermediates), or with `mutable` in `kwargs`
            ((logits, intermediates), the new model state).
        """
        lora, weights = trees.parted(params, ('lora',))
        variables = {'params': weights, **model_state}
        with tuning.tuned((), self.running, lora.get('lora')):
            return self.model.apply(variables, *inputs, **kwargs)

    def head_input(
        self, params: Tree, model_state: Tree, *inputs: Array
    ) -> Float[Array, 'b d']:
        """Compute the input of the head in inference: the features, without low-rank updates.

        Args:
            params: parameters of the model. Low-rank updates in it are ignored.
            model_state: {collection: tree}, such as batch statistics.
            *inputs: inputs of the model, normalised.
        """
        _, weights = trees.parted(params, ('lora',))
        variables = {'params': weights, **model_state}
        return tuning.head_input(self.model, variables, *inputs)

    def rates(self, updates: Tree) -> Tree:
        """Return the learning-rate factor of each leaf, by layer decay.

        It is 1 in the head, and layer_decay^k in the k-th block before the head. `updates` is a
        tree like the trained parameters, and the result has the same structure.
        """
        if self.layer_decay == 1:
            return jax.tree.map(lambda _: 1.0, updates)
        depth = {}
        for number, block in enumerate(self.blocks):
            depth |= dict.fromkeys(block, number)
        last = len(self.blocks) - 1

        def rate(path, _):
            name = next(key.key for key in path if key.key != 'lora')
            return self.layer_decay ** (last - depth[name])

        return jax.tree.map_with_path(rate, updates)


def _parse_trained(text: str, blocks: int) -> tuple[int, int]:
    """Parse `task.trained`.

    Args:
        text: the value of the field.
        blocks: number of blocks of the model, the head included.

    Returns:
        (number of trained blocks, counted from the head, rank of low-rank updates).
    """
    if text == 'all':
        return blocks, 0
    if text == 'head':
        return 1, 0
    match = re.fullmatch(r'(last|lora) ([1-9]\d*)', text)
    if not match:
        raise UserError(
            f"task.trained={text!r}: expected 'all', 'head', 'last N' or 'lora N', such as "
            "'last 2'"
        )
    number = int(match[2])
    if match[1] == 'lora':
        return 1, number
    if number >= blocks:
        raise UserError(
            f'task.trained={text!r}: expected at most {blocks - 1}, the number of blocks '
            "below the head. Choose fewer, or 'all'."
        )
    return 1 + number, 0


def fit(penalty: float, features: Features, targets: Targets, multi_label: bool) -> Fit:
    """Build the linear probe: fit the head to the features of all training examples.

    The `solve` of the result raises a UserError if the fit diverges.

    Args:
        penalty: weight of the L2 penalty on the head's kernel, above 0.
        features: `(params, model_state, batch) -> [B, D]`, the input of the head.
        targets: `(batch) -> [B, K]`, the target probability of each class.
        multi_label: whether an example has several labels (sigmoid) or one (softmax).

    Returns:
        A `Fit`, which the engine carries out before step 1.
    """

    def depends_on(state: TrainState) -> Tree:
        variables = state.variables
        _, below_head = trees.parted(variables['params']['model'], ('head', 'lora'))
        return {'params': below_head, 'model_state': variables['model_state']}

    def record(state: TrainState, batch: Batch) -> Batch:
        variables = state.variables
        values = features(
            variables['params']['model'], variables['model_state']['model'], batch
        )
        values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
        return {'features': values, 'targets': targets(batch)}

    def solve(records: Records) -> tuple[Records, dict[str, float]]:
        solve_head = jax.jit(probe.fit, static_argnames='multi_label')
        solution = solve_head(
            jnp.asarray(records['features']),
            jnp.asarray(records['targets']),
            penalty,
            multi_label=multi_label,
        )
        kernel, bias, loss = jax.device_get(solution)
        if not np.isfinite(loss):
            raise UserError(
                f'task.probe={penalty}: expected a penalty with a finite loss, but the fit of '
                'the head diverged. Choose a larger penalty.'
            )
        leaves = {'model/head/kernel': kernel, 'model/head/bias': bias}
        return leaves, {'loss': float(loss)}

    return Fit(depends_on=depends_on, record=record, solve=solve)
