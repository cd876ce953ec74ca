"""Captioning: sentences about an image, word by word, each from where the network looks."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.state import create
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import decode, digit_captions, pipeline
from jaxvision.image import color
from jaxvision.metrics import captions as metrics
from jaxvision.metrics import cider
from jaxvision.models.sequence import decoding
from jaxvision.models.sequence.captioner import Captioner
from jaxvision.tasks.captioning import tokens
from jaxvision.tasks.shared import image_input
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import optimizers, update
from jaxvision.viz import figures

DEFAULTS = dict(
    recipe='',  # by which the encoder's images are normalised: of pretrained/recipes.py; '':
    # as the weights in train.init_from, if they are a file
    layer='stage4',  # the model's feature map that is attended to
    decoder=dict(
        hidden=256, embedding=64, attention=128
    ),  # widths of the LSTM, of words, of keys
    doubly_stochastic=1.0,  # weight of the regulariser that has every place looked at once
    self_critical=False,  # learn from CIDEr-D of sampled captions, not from true ones
    beam=5,  # captions that the beam search keeps
    longest=30,  # words; what is longer is cut in training, and never said
    fewest=1,  # occurrences that make a word known
    texts=10_000,
)  # training examples whose captions the vocabulary is made of


def describe(config, source) -> dict:
    """The vocabulary, and for self-critical training how rare each n-gram is, in captions spread
    over the split."""
    c, info, size = config.task, source.info, config.data.image_size
    info.check_holds('image', 'captions')
    height, width, channels = info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    shape = [height, width, channels] if as_it_is else [size, size, channels]
    texts = read_texts(config, source)
    captions = [[metrics.tokenize(text) for text in each] for each in texts]
    known = tokens.vocabulary(captions, c.fewest)
    most, length = (
        max(map(len, texts)),
        min(c.longest, max(len(caption) for each in captions for caption in each)) + 1,
    )
    room = 2 * max(len(tokens.as_bytes(each)) for each in texts)
    spec = {
        'inputs': {'image': {'shape': shape, 'dtype': 'uint8'}},
        'resize': None if as_it_is else 'squash',
        'vocabulary': known,
        'targets': {
            'caption': {'shape': [length], 'dtype': 'int32'},
            'captions': {'shape': [most, length], 'dtype': 'int32'},
            'references': {'shape': [room], 'dtype': 'uint8'},
        },
    }
    if 'scene' in info.holds:
        spec['targets']['scene'] = {
            'shape': list(np.shape(source[0]['scene'])),
            'dtype': 'int32',
        }
    if c.self_critical:
        number = tokens.numbering(known, (most, length))
        tables = cider.statistics(np.stack([number(each) for each in texts]))
        spec['statistics'] = {
            name: table.tolist() for name, table in tables._asdict().items()
        }
    recipe = image_input.find_recipe(config)
    return {
        **spec,
        **(
            recipe.normalization()
            if recipe
            else image_input.statistics(config, source, make_prepare(config, spec))
        ),
    }


def read_texts(config, source) -> list[list[str]]:
    """The captions of `task.texts` examples spread over the split, or of all of fewer."""
    rows = np.linspace(0, len(source) - 1, min(config.task.texts, len(source))).astype(
        int
    )

    def read(i):
        return source[int(rows[i])]['captions']

    return list(pipeline.read_ahead(read, 0, len(rows), config.data.threads))


def make(config, spec: dict) -> Task:
    _check(config.task)
    c, network = config.task, Network.of(config, spec)
    tx, lr = optimizers.make(config, spec['examples'])
    loss = (
        criticise(network, spec)
        if c.self_critical
        else teach(network, c.doubly_stochastic)
    )
    descend = update.from_loss(
        loss, tx, accumulate=config.optimizer.accumulate, ema=config.optimizer.ema
    )

    def init(key, batch):
        image = color.to_float(batch['image'], network.dtype)
        variables = network.model.init(
            keys.stream(key, 'init'), image, batch['caption'][:, 0]
        )
        params = {'model': variables.pop('params')}
        averaged = ('model',) if config.optimizer.ema else ()
        return create(key, params, {'model': tx}, {'model': variables}, averaged)

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    def predict(variables, inputs):
        params, model_state = (
            variables[kind]['model'] for kind in ('params', 'model_state')
        )
        seen, start = network.see(params, model_state, inputs['image'])
        say = network.say(params, seen)
        caption, looked = decoding.greedy(say, start, network.length)
        beams, scores = decoding.beam(say, start, network.length, c.beam)
        return {
            'caption': caption,
            'attention': looked,
            'beams': beams,
            'log_probabilities': scores,
        }

    def record(outputs, batch):
        kept = {name: batch[name] for name in ('references', 'scene') if name in batch}
        attention = jnp.round(255 * outputs['attention']).astype(jnp.uint8)
        return {
            'caption': outputs['caption'],
            'beam': outputs['beams'][:, 0],
            'attention': attention,
            **kept,
        }

    def evaluate(state, batch):
        return record(predict(state.variables, batch), batch)

    known = spec['vocabulary']
    evaluation = Evaluation(
        'test', evaluate, functools.partial(summarize, known), record
    )
    return Task(
        init,
        step,
        {'eval': evaluation},
        predict,
        'eval/cider_d',
        make_prepare(config, spec),
        functools.partial(draw, known),
        functools.partial(show, known),
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """A captioner of the spec's images: what it sees, and what it says of that."""

    model: Captioner
    mean: list[float]
    deviation: list[float]
    length: int
    dtype: Any

    @staticmethod
    def of(config, spec: dict) -> 'Network':
        c, types = config.task, config.model
        model = Captioner(
            make_model(config, num_classes=0),
            c.layer,
            len(spec['vocabulary']),
            **c.decoder,
            dtype=jnp.dtype(types.dtype),
            param_dtype=jnp.dtype(types.param_dtype),
        )
        return Network(
            model,
            spec['mean'],
            spec['deviation'],
            spec['targets']['caption']['shape'][0],
            jnp.dtype(types.param_dtype),
        )

    def see(self, params, model_state, image, **train):
        image = color.to_float(jnp.asarray(image), self.dtype)
        image = color.normalize(image, self.mean, self.deviation)
        return self.model.apply(
            {'params': params, **model_state}, image, method='see', **train
        )

    def see_to_learn(self, params, state, batch, key):
        """(what is seen, the first state), aux of the loss."""
        model_state = state.model_state['model']
        seen, model_state = self.see(
            params,
            model_state,
            batch['image'],
            train=True,
            mutable=list(model_state),
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']),
        )
        return seen, {'model_state': {'model': model_state}}

    def say(self, params, seen, any_word: bool = False) -> decoding.Step:
        """Never BEGIN nor UNKNOWN, unless it says `any_word`."""
        token_ids = np.arange(self.model.vocabulary)
        barred = (
            0
            if any_word
            else np.where(
                np.isin(token_ids, (decoding.BEGIN, decoding.UNKNOWN)), -1e9, 0
            )
        )

        def step(state, word):
            state, logits, looked = self.model.apply(
                {'params': params}, seen, state, word, method='say'
            )
            return state, logits + jnp.asarray(barred, logits.dtype), looked

        return step


def teach(network: Network, doubly_stochastic: float) -> Callable:
    """The loss of the true caption, each word from the true ones before it."""

    def loss(params, state, batch, key):
        (seen, start), aux = network.see_to_learn(params, state, batch, key)
        true = batch['caption']
        logits, looked = decoding.forced(
            network.say(params, seen, any_word=True), start, true
        )
        inside = decoding.within(true).astype(network.dtype)
        # Over a caption, every place is looked at once, in sum.
        regular = jnp.square(1 - (looked * inside[..., None, None]).sum(1)).mean((1, 2))
        return {
            'cross_entropy': (
                -decoding.log_probability(logits, true).sum(1),
                inside.sum(1),
            ),
            'doubly_stochastic': (doubly_stochastic * regular, jnp.ones_like(regular)),
        }, aux

    return loss


def criticise(network: Network, spec: dict) -> Callable:
    """The loss of self-critical training (Rennie et al., 2017, arXiv 1612.00563): what a sampled
    caption earns in CIDEr-D beyond the greedy one, as the weight of its log probability."""
    tables = cider.Statistics(
        **{
            name: np.array(table, network.dtype if name == 'rarity' else np.int32)
            for name, table in spec['statistics'].items()
        }
    )
    earn = jax.vmap(
        lambda *captions: cider.cider_d(jax.tree.map(jnp.asarray, tables), *captions)
    )

    def loss(params, state, batch, key):
        (seen, start), aux = network.see_to_learn(params, state, batch, key)
        settled = network.say(*jax.lax.stop_gradient((params, seen)))
        own_keys = keys.per_example(keys.stream(key, 'sample'), batch['index'])
        sampled, _ = decoding.sample(own_keys, settled, start, network.length)
        likeliest, _ = decoding.greedy(settled, start, network.length)
        reward, baseline = (
            earn(said, batch['captions']) for said in (sampled, likeliest)
        )
        logits, _ = decoding.forced(network.say(params, seen), start, sampled)
        surprise = -decoding.log_probability(logits, sampled).sum(1)
        ones = jnp.ones_like(surprise)
        return {'advantage': ((reward - baseline) * surprise, ones)}, {
            **aux,
            'scalars': {'reward': (reward, ones), 'greedy_reward': (baseline, ones)},
        }

    return loss


def make_prepare(config, spec: dict) -> Callable:
    """Host side: images of one size; one true caption at random to train on, or the first, and all
    of them as text, to evaluate."""
    size, _, channels = spec['inputs']['image']['shape']
    shapes = {name: target['shape'] for name, target in spec['targets'].items()}
    number = tokens.numbering(spec['vocabulary'], shapes['captions'])

    def targets(texts: list[str], rng) -> dict[str, np.ndarray]:
        if rng is None:
            return {
                'caption': number(texts)[0],
                'references': tokens.padded(
                    tokens.as_bytes(texts), *shapes['references']
                ),
            }
        captions = {'captions': number(texts)} if config.task.self_critical else {}
        return {'caption': number([texts[rng.integers(len(texts))]])[0], **captions}

    def prepare(example, rng):
        image = example['image']
        if spec['resize'] is not None:
            image = decode.squash(image, size, channels)
        scene = (
            {'scene': example['scene']} if rng is None and 'scene' in example else {}
        )
        texts = example.get('captions')
        return {
            'image': image,
            **(targets(list(texts), rng) if texts is not None else {}),
            **scene,
        }

    return prepare


def summarize(vocabulary: list[str], records: dict) -> dict[str, float]:
    """BLEU-1 to 4, ROUGE-L and CIDEr-D of the greedy captions, and, as beam_..., of the beam
    search's best; where the scenes are known, `true` is the share of captions that are wholly so."""
    texts = [
        bytes(row).rstrip(b'\0').decode().split('\n') for row in records['references']
    ]
    references = [[metrics.tokenize(text) for text in each] for each in texts]
    found = {}
    for prefix, name in (('', 'caption'), ('beam_', 'beam')):
        said = [tokens.wording(vocabulary, row) for row in records[name]]
        found |= {
            f'{prefix}{metric}': value
            for metric, value in metrics.summarize(said, references).items()
        }
        if 'scene' in records:
            truth = [
                digit_captions.is_true(' '.join(caption), scene)
                for caption, scene in zip(said, records['scene'])
            ]
            found[f'{prefix}true'] = float(np.mean(truth))
    return found


def draw(vocabulary: list[str], records: dict, example) -> dict[str, np.ndarray]:
    """Captions of some images, and of one where each word looked."""
    some = np.unique(np.linspace(0, len(records['index']) - 1, 12).astype(int))
    images = [example(int(records['index'][i]))['image'] for i in some]
    said = [tokens.wording(vocabulary, records['caption'][i]) for i in some]
    longest = max(range(len(some)), key=lambda i: len(said[i]))
    return {
        'captions': figures.gallery(images, [' '.join(caption) for caption in said], 4),
        'attention': figures.attention(
            images[longest], said[longest], records['attention'][some[longest]]
        ),
    }


def show(
    vocabulary: list[str], inputs: dict, outputs: dict
) -> tuple[dict, np.ndarray | None]:
    """The greedy caption and the beam search's, with their log probabilities."""
    caption = tokens.wording(vocabulary, outputs['caption'])
    beams = [
        {
            'caption': ' '.join(tokens.wording(vocabulary, beam)),
            'log_probability': float(score),
        }
        for beam, score in zip(outputs['beams'], outputs['log_probabilities'])
    ]
    answer = {'caption': ' '.join(caption), 'beams': beams}
    if 'original' not in inputs:
        return answer, None
    return answer, figures.attention(inputs['original'], caption, outputs['attention'])


def _check(options) -> None:
    for name in ('beam', 'longest', 'fewest', 'texts'):
        if options[name] < 1:
            raise UserError(f'task.{name}={options[name]}: it is at least 1')
    for name, width in options.decoder.items():
        if width < 1:
            raise UserError(f'task.decoder.{name}={width}: it is at least 1')
    if options.doubly_stochastic < 0:
        raise UserError(
            f'task.doubly_stochastic={options.doubly_stochastic}: a weight, from 0 up'
        )
