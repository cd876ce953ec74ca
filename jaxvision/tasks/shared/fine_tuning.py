"""A classifier's model of which a part is trained, or its head fitted: fine-tuning and probes."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import trees
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field, Fields
from jaxvision.core.task import Fit
from jaxvision.losses import probe
from jaxvision.models import tuning

Tree = Any

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


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A model, the names of its blocks' modules (where they matter), and how it is tuned."""

    model: Any
    blocks: list[tuple[str, ...]]
    trained: frozenset[str] | None  # of those names; None: all
    rank: int  # of low-rank updates; 0: none
    running: bool  # all batch norms' statistics
    layer_decay: float

    @staticmethod
    def of(options, model: Any, *inputs: Any) -> 'Tuned':
        """By a task's options; `inputs` are the model's, or their shapes."""
        matters = options.trained != 'all' or options.layer_decay < 1 or options.probe
        blocks = tuning.blocks(model, *inputs) if matters else []
        count, rank = _trained(options.trained, len(blocks))
        names = (
            None
            if options.trained == 'all'
            else frozenset(
                name for block in blocks[len(blocks) - count :] for name in block
            )
        )
        return Tuned(
            model,
            blocks,
            names,
            rank,
            options.statistics == 'running',
            options.layer_decay,
        )

    def init(self, key, *inputs) -> tuple[Tree, Tree]:
        """(parameters, model state)"""
        variables = self.model.init(key, *inputs)
        params = variables.pop('params')
        if self.rank:
            lora = tuning.low_rank(
                key, params, self.rank, params['head']['kernel'].dtype
            )
            return {**params, 'lora': lora}, variables
        return params, variables

    @property
    def frozen(self) -> list[str]:
        """The paths of what stays."""
        if self.trained is None:
            return []
        return [
            f'model/{name}'
            for block in self.blocks
            for name in block
            if name not in self.trained
        ]

    def apply(self, params, model_state, *inputs, **how):
        """As the model's, of its whole tree."""
        lora, weights = trees.parted(params, ('lora',))
        with tuning.tuned((), self.running, lora.get('lora')):
            return self.model.apply({'params': weights, **model_state}, *inputs, **how)

    def head_input(self, params, model_state, *inputs):
        weights = trees.parted(params, ('lora',))[1]  # which begins as nothing
        return tuning.head_input(
            self.model, {'params': weights, **model_state}, *inputs
        )

    def rates(self, updates: Tree) -> Tree:
        """A factor of the learning rate for each leaf."""
        if self.layer_decay == 1:
            return jax.tree.map(lambda _: 1.0, updates)
        depth = {name: i for i, block in enumerate(self.blocks) for name in block}

        def rate(path, _):
            names = [key.key for key in path if key.key != 'lora']
            return self.layer_decay ** (len(self.blocks) - 1 - depth[names[0]])

        return jax.tree.map_with_path(rate, updates)


def _trained(text: str, blocks: int) -> tuple[int, int]:
    """(how many blocks from the last one, rank)"""
    if text == 'all':
        return blocks, 0
    kind, _, number = text.partition(' ')
    if text != 'head' and not (
        kind in ('last', 'lora') and re.fullmatch(r'[1-9]\d*', number)
    ):
        raise UserError(f"task.trained={text!r}: write all, head, 'last 2' or 'lora 8'")
    if kind == 'last' and int(number) >= blocks:
        raise UserError(
            f'task.trained={text!r}: there are {blocks - 1} blocks below the head'
        )
    return (1 + int(number) if kind == 'last' else 1), (
        int(number) if kind == 'lora' else 0
    )


def fit(penalty: float, see, targets, multi_label: bool) -> Fit:
    """The best head for all features: `see(params, model_state, batch)` are those of a batch, and
    `targets(batch)` [B, K] what they stand for."""

    def depends_on(state):
        variables = state.variables
        return {
            'params': trees.parted(variables['params']['model'], ('head', 'lora'))[1],
            'model_state': variables['model_state'],
        }

    def record(state, batch):
        variables = state.variables
        seen = see(
            variables['params']['model'], variables['model_state']['model'], batch
        )
        return {
            'features': seen.astype(jnp.promote_types(seen.dtype, jnp.float32)),
            'targets': targets(batch),
        }

    def solve(records):
        features, targets = (
            jnp.asarray(records[name]) for name in ('features', 'targets')
        )
        kernel, bias, loss = jax.device_get(
            jax.jit(probe.fit, static_argnames='multi_label')(
                features, targets, penalty, multi_label=multi_label
            )
        )
        if not np.isfinite(loss):
            raise UserError(f'task.probe={penalty}: no head fits these features')
        return {'model/head/kernel': kernel, 'model/head/bias': bias}, {
            'loss': float(loss)
        }

    return Fit(depends_on=depends_on, record=record, solve=solve)
