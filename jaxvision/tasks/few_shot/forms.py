"""Sizes of episodes, and functions that select or reorder the images of episodes."""

import re

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.types import Batch
from jaxvision.data.episodes import Form

_FORMS = re.compile(r'[1-9]\d*x[1-9]\d*(,[1-9]\d*x[1-9]\d*)*')


def evaluated_forms(options: Config) -> list[Form]:
    """Return the episode size of each evaluation, the main evaluation first.

    `options` is `config.task`. All sizes have `task.test_queries` queries per class.

    Raises:
        UserError: `task.evaluations` is not a list of WAYSxSHOTS.
    """
    if not _FORMS.fullmatch(options.evaluations):
        raise UserError(
            f'task.evaluations={options.evaluations!r}: expected WAYSxSHOTS of each '
            "evaluation, separated by commas, such as '5x1,5x5'"
        )
    forms = []
    for text in options.evaluations.split(','):
        ways, shots = text.split('x')
        forms.append(Form(int(ways), int(shots), options.test_queries))
    return forms


def largest_form(options: Config) -> Form:
    """Return the smallest episode size that contains the episodes of all evaluations.

    `options` is `config.task`.

    Raises:
        UserError: `task.evaluations` is not a list of WAYSxSHOTS.
    """
    forms = evaluated_forms(options)
    return Form(
        max(form.ways for form in forms),
        max(form.shots for form in forms),
        options.test_queries,
    )


def evaluation_name(form: Form) -> str:
    """Return the name of an evaluation, such as '5way_1shot'."""
    return f'{form.ways}way_{form.shots}shot'


def part(batch: Batch, form: Form) -> Batch:
    """Select smaller episodes from larger ones: the first classes, and their first shots.

    Args:
        batch: episodes with `form.queries` queries per class, class by class, and at least as
            many classes and shots as `form`.
        form: the size of the smaller episodes.

    Returns:
        'support', 'support_mask', 'query' and 'query_label' of the smaller episodes. All queries
        of their classes are kept.
    """
    episodes = len(batch['query_label'])

    def first_queries(x):
        shape = x.shape[2:]
        of_classes = x.reshape(episodes, -1, form.queries, *shape)[:, : form.ways]
        return of_classes.reshape(episodes, form.ways * form.queries, *shape)

    def first_shots(x):
        return x[:, : form.ways, : form.shots]

    return {
        'support': first_shots(batch['support']),
        'support_mask': first_shots(batch['support_mask']),
        'query': first_queries(batch['query']),
        'query_label': first_queries(batch['query_label']),
    }


def class_positions(batch: Batch) -> Int[Array, 'b n']:
    """Number the class of each image within its episode, the support set first.

    Args:
        batch: episodes with 'support_mask' [B, N, K] and 'query_label' [B, M].

    Returns:
        [B, N * K + M], numbers from 0 to N - 1.
    """
    episodes, ways, shots = batch['support_mask'].shape
    support = jnp.repeat(jnp.arange(ways), shots)
    support = jnp.broadcast_to(support, (episodes, ways * shots))
    return jnp.concatenate([support, batch['query_label']], 1)


def by_class(
    batch: Batch, images: Float[Array, 'b n h w c']
) -> Float[Array, 'b ways per_class h w c']:
    """Group the images of an episode by class: the shots, then the queries of each class.

    Args:
        batch: episodes with 'support_mask' [B, N, K].
        images: [B, N * K + N * Q, H, W, C]: all support images class by class, then all queries
            class by class, Q of each class.

    Returns:
        [B, N, K + Q, H, W, C].
    """
    episodes, ways, shots = batch['support_mask'].shape

    def split(x):
        return x.reshape(episodes, ways, -1, *x.shape[2:])

    support = split(images[:, : ways * shots])
    query = split(images[:, ways * shots :])
    return jnp.concatenate([support, query], 2)
