"""What every classifier is, whatever it sees: logits, their losses and their metrics."""

import functools

import jax
import jax.numpy as jnp

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.state import create
from jaxvision.core.task import Evaluation, Task
from jaxvision.image import color
from jaxvision.losses import classification as losses
from jaxvision.metrics import classification as metrics
from jaxvision.tasks.shared import freezing
from jaxvision.tasks.shared.fine_tuning import Tuned, fit
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import optimizers, update


def classifier(config, spec: dict, see, augment, *, prepare, draw, show) -> Task:
    """The task of a model that gives logits of what it sees.

    `see(inputs) -> (pixels in [0, 1], *others)`, of which the pixels are augmented in training,
    `augment(key, index, pixels, targets) -> (pixels, targets)`, and normalised; with the others
    they are what the model is given. `draw` is Task.figures where there is one label.
    """
    example = {
        name: jax.ShapeDtypeStruct((1, *array['shape']), array['dtype'])
        for name, array in spec['inputs'].items()
    }
    classes, multi_label = len(spec['class_names']), spec['multi_label']
    network = make_model(config, num_classes=classes)
    model = Tuned.of(config.task, network, *jax.eval_shape(see, example))
    tx, lr = optimizers.make(config, spec['examples'], rates=model.rates)
    smoothing, penalty = config.task.label_smoothing, config.task.probe
    dtype = jnp.dtype(config.model.param_dtype)
    if not 0 <= smoothing < 1 or smoothing and multi_label:
        raise UserError(
            f'task.label_smoothing={smoothing}: it is at least 0 and less than 1, and '
            '0 where an example has several labels'
        )

    def normal(pixels, *others):
        return color.normalize(pixels, spec['mean'], spec['deviation']), *others

    def init(key, batch):
        params, model_state = model.init(keys.stream(key, 'init'), *see(batch))
        averaged = ('model',) if config.optimizer.ema else ()
        return create(
            key, {'model': params}, {'model': tx}, {'model': model_state}, averaged
        )

    def wanted(batch):
        return (
            batch['label']
            if multi_label
            else losses.one_hot_targets(batch['label'], classes, smoothing, dtype)
        )

    def loss(params, state, batch, key):
        pixels, *others = see(batch)
        pixels, targets = augment(key, batch['index'], pixels, wanted(batch))
        (logits, _), model_state = model.apply(
            params,
            state.model_state['model'],
            *normal(pixels, *others),
            train=True,
            mutable=list(state.model_state['model']),
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']),
        )
        entropy = (
            losses.sigmoid_cross_entropy
            if multi_label
            else losses.softmax_cross_entropy
        )(logits, targets)
        return {'cross_entropy': (entropy, jnp.ones_like(entropy))}, {
            'model_state': {'model': model_state}
        }

    descend = update.from_loss(
        loss, tx, accumulate=config.optimizer.accumulate, ema=config.optimizer.ema
    )

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    def predict(variables, inputs):
        logits, _ = model.apply(
            variables['params']['model'],
            variables['model_state']['model'],
            *normal(*see(inputs)),
        )
        probabilities = (jax.nn.sigmoid if multi_label else jax.nn.softmax)(logits)
        return {'logits': logits, 'probabilities': probabilities}

    def record(outputs, batch):
        of = metrics.record_multilabel if multi_label else metrics.record
        return of(outputs['logits'], batch['label'])

    def evaluate(state, batch):
        return record(predict(state.variables, batch), batch)

    summarize = (
        metrics.summarize_multilabel
        if multi_label
        else functools.partial(metrics.summarize, classes=classes)
    )
    evaluation = Evaluation('test', evaluate, summarize, record)

    def see_features(params, model_state, batch):
        return model.head_input(params, model_state, *normal(*see(batch)))

    probe = fit(penalty, see_features, wanted, multi_label) if penalty else None
    task = Task(
        init,
        step,
        {'eval': evaluation},
        predict,
        'eval/mean_average_precision' if multi_label else 'eval/accuracy',
        prepare,
        None if multi_label else draw,
        show,
        fit=probe,
    )
    return freezing.freeze(task, model.frozen)
