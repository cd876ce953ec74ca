"""A classifier's model of which a part is trained, or its head fitted: fine-tuning and probes."""

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
        "Parts that are trained: all, head, 'last 2' (blocks and head), 'lora 8' "
        '(updates of rank 8, and head).',
    ),
    'statistics': Field(
        'batch',
        'Statistics of batch norms in training: of the batch, or running ones as they are.',
        choices=('batch', 'running'),
    ),
    'layer_decay': Field(
        1.0,
        'Factor of the learning rate from each block to the one before it.',
        above=0,
        most=1,
    ),
    'probe': Field(
        0.0,
        'L2 penalty of a head that is fitted to all features before step 1; 0: not fitted.',
        least=0,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """A model of which all or a part is trained.

    Attributes:
        model: a Flax module whose last layer is called 'head'.
        blocks: names of the modules of each block, the head last; empty where no option
            depends on blocks.
        trained: names of the modules that are trained; None: all.
        rank: of low-rank updates; 0: none.
        running: whether all batch norms use their running statistics.
        layer_decay: factor of the learning rate from each block to the one before it.
    """

    model: Module
    blocks: Sequence[tuple[str, ...]]
    trained: frozenset[str] | None
    rank: int
    running: bool
    layer_decay: float

    @classmethod
    def build(cls, options: Config, model: Module, *inputs: Shaped) -> 'Tuned':
        """Choose what is trained by the fields of `FIELDS`.

        Args:
            options: the config's task.
            model: the model.
            *inputs: of the model, or their shapes.

        Raises:
            UserError: `options.trained` is wrong.
        """
        needs_blocks = (
            options.trained != 'all' or options.layer_decay < 1 or options.probe
        )
        blocks = tuning.blocks(model, *inputs) if needs_blocks else []
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
        """Draw (the parameters, the model state)."""
        variables = self.model.init(key, *inputs)
        params = variables.pop('params')
        if self.rank:
            dtype = params['head']['kernel'].dtype
            lora = tuning.low_rank(key, params, self.rank, dtype)
            params = {**params, 'lora': lora}
        return params, variables

    @property
    def frozen(self) -> list[str]:
        """The paths of the parts that are not trained."""
        if self.trained is None:
            return []
        names = itertools.chain(*self.blocks)
        return [f'model/{name}' for name in names if name not in self.trained]

    def apply(
        self, params: Tree, model_state: Tree, *inputs: Array, **kwargs: Any
    ) -> Tree:
        """Apply the model with all its parameters, low-rank updates included."""
        lora, weights = trees.parted(params, ('lora',))
        variables = {'params': weights, **model_state}
        with tuning.tuned((), self.running, lora.get('lora')):
            return self.model.apply(variables, *inputs, **kwargs)

    def head_input(
        self, params: Tree, model_state: Tree, *inputs: Array
    ) -> Float[Array, 'b d']:
        """The features that the head is given, without the low-rank updates."""
        _, weights = trees.parted(params, ('lora',))
        variables = {'params': weights, **model_state}
        return tuning.head_input(self.model, variables, *inputs)

    def rates(self, updates: Tree) -> Tree:
        """The factor of the learning rate of each leaf."""
        if self.layer_decay == 1:
            return jax.tree.map(lambda _: 1.0, updates)
        depth = {name: i for i, block in enumerate(self.blocks) for name in block}
        last = len(self.blocks) - 1

        def rate(path, _):
            name = next(key.key for key in path if key.key != 'lora')
            return self.layer_decay ** (last - depth[name])

        return jax.tree.map_with_path(rate, updates)


def _parse_trained(text: str, blocks: int) -> tuple[int, int]:
    """Read `task.trained`.

    Args:
        text: the field.
        blocks: number of the model's blocks, its head included.

    Returns:
        (number of the last blocks that are trained, rank of low-rank updates).
    """
    if text == 'all':
        return blocks, 0
    if text == 'head':
        return 1, 0
    match = re.fullmatch(r'(last|lora) ([1-9]\d*)', text)
    if not match:
        raise UserError(
            f"task.trained={text!r}: expected all, head, 'last 2' or 'lora 8'"
        )
    number = int(match[2])
    if match[1] == 'lora':
        return 1, number
    if number >= blocks:
        raise UserError(
            f'task.trained={text!r}: expected at most {blocks - 1}, the number of '
            'blocks below the head'
        )
    return 1 + number, 0


def fit(penalty: float, features: Features, targets: Targets, multi_label: bool) -> Fit:
    """Build the fit of the best linear head.

    Args:
        penalty: of the squared weights.
        features: `(params, model_state, batch) -> [B, D]`, what the head is given.
        targets: `(batch) -> [B, K]`.
        multi_label: whether an example has several labels.
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
                f'task.probe={penalty}: no head fits these features. Raise it'
            )
        leaves = {'model/head/kernel': kernel, 'model/head/bias': bias}
        return leaves, {'loss': float(loss)}

    return Fit(depends_on=depends_on, record=record, solve=solve)
