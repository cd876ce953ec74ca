"""The episodes of a task: their sizes, and how their arrays are taken apart."""

import re

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.types import Batch
from jaxvision.data.episodes import Form

_FORMS = re.compile(r'[1-9]\d*x[1-9]\d*(,[1-9]\d*x[1-9]\d*)*')


def evaluated_forms(options: Config) -> list[Form]:
    """The size of the episodes of each evaluation, the main one first."""
    if not _FORMS.fullmatch(options.evaluations):
        raise UserError(
            f'task.evaluations={options.evaluations!r}: expected WAYSxSHOTS of each evaluation. '
            "Write '5x1,5x5' for two."
        )
    forms = []
    for text in options.evaluations.split(','):
        ways, shots = text.split('x')
        forms.append(Form(int(ways), int(shots), options.test_queries))
    return forms


def largest_form(options: Config) -> Form:
    """The size of which the episodes of every evaluation are parts."""
    forms = evaluated_forms(options)
    return Form(
        max(form.ways for form in forms),
        max(form.shots for form in forms),
        options.test_queries,
    )


def evaluation_name(form: Form) -> str:
    """The name of an evaluation, as '5way_1shot'."""
    return f'{form.ways}way_{form.shots}shot'


def part(batch: Batch, form: Form) -> Batch:
    """Take smaller episodes out of larger ones: the first classes, and shots of each."""
    episodes = len(batch['query_label'])

    def first_queries(x):
        by_class = x.reshape(episodes, -1, form.queries, *x.shape[2:])
        return by_class[:, : form.ways].reshape(
            episodes, form.ways * form.queries, *x.shape[2:]
        )

    def first_shots(x):
        return x[:, : form.ways, : form.shots]

    return {
        'support': first_shots(batch['support']),
        'support_mask': first_shots(batch['support_mask']),
        'query': first_queries(batch['query']),
        'query_label': first_queries(batch['query_label']),
    }


def class_positions(batch: Batch) -> Int[Array, 'b n']:
    """The class of each image among those of its episode, support first."""
    episodes, ways, shots = batch['support_mask'].shape
    support = jnp.repeat(jnp.arange(ways), shots)
    support = jnp.broadcast_to(support, (episodes, ways * shots))
    return jnp.concatenate([support, batch['query_label']], 1)


def by_class(
    batch: Batch, images: Float[Array, 'b n h w c']
) -> Float[Array, 'b ways per_class h w c']:
    """Sort images, support first, by their class: the shots and queries of each."""
    episodes, ways, shots = batch['support_mask'].shape

    def split(x):
        return x.reshape(episodes, ways, -1, *x.shape[2:])

    support = split(images[:, : ways * shots])
    query = split(images[:, ways * shots :])
    return jnp.concatenate([support, query], 2)
