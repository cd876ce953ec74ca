"""Targets of an explanation: classes, classes of pixels, boxes and words.

Each kind of model has a subject. It lists the targets of an image, and computes their scores from
the outputs of the network or, for exported models, from predictions.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvision.attribution import scores
from jaxvision.boxes import overlap
from jaxvision.cli.predict import detection_answers, finding
from jaxvision.cli.predict.model import Model
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.types import Batch, Example, Json, Records, Tree
from jaxvision.models.segmenters import maps
from jaxvision.models.sequence import decoding
from jaxvision.viz import segmentation

# The numbers of a target, which a compiled program takes as arguments.
Numbers = Mapping[str, np.ndarray]
Scores = Float[Array, 'b']
HostScores = Float[np.ndarray, 'n']

# Probabilities nearer to 0 or 1 have the same odds.
_LEAST = 1e-6
# A box of the network is that of a detection from this IoU on.
_SAME_BOX = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One thing about an image that is explained.

    Attributes:
        name: for the user, such as the name of a class.
        numbers: its arguments of the scores.
        answer: its part of the report.
    """

    name: str
    numbers: Numbers
    answer: Json


@dataclasses.dataclass(frozen=True)
class Subject(abc.ABC):
    """The targets and scores of one kind of model.

    Attributes:
        model: the model.
        names: targets that the user names; empty: those that the model predicts.
        score_name: what the score is, for the report.
        default_number: targets of an image, if the user names none.
    """

    model: Model
    names: Sequence[str]
    score_name: ClassVar[str]
    default_number = 3

    @abc.abstractmethod
    def targets(self, example: Example, outputs: Records) -> list[Target]:
        """List the targets of an image, the most important first.

        Args:
            example: the prepared image.
            outputs: of `Task.predict`, for this image.
        """

    def anywhere(self, name: str) -> Numbers:
        """The numbers of a class in an image that nothing was predicted for.

        Raises:
            UserError: The scores belong to predictions.
        """
        del name
        raise UserError(
            f'{self.model.name}: expected a classifier or a segmenter, whose classes have '
            'scores without a prediction. Choose another method, or another run.'
        )

    def inputs(self, numbers: Numbers, count: int) -> tuple[Array, ...]:
        """Further inputs of the network for `count` images, after the images: none."""
        del numbers, count
        return ()

    @abc.abstractmethod
    def score(self, outputs: Tree, numbers: Numbers) -> Scores:
        """The score of each image, from the outputs of `Network.apply`."""


def of_model(model: Model, names: Sequence[str]) -> Subject:
    """Choose the subject of a model by its task.

    Args:
        model: a classifier, a segmenter, a detector or a captioner.
        names: targets that the user names; empty: those that the model predicts.

    Raises:
        UserError: The model predicts something else, or does not know a name.
    """
    predictor = model.task.predictor
    if predictor == 'image' and 'caption' in model.spec.targets:
        return Words(model, names)
    kinds = {'image': Classes, 'segmenter': ClassesOfPixels, 'detector': Boxes}
    if predictor not in kinds or not model.spec.class_names:
        raise UserError(
            f'{model.name}: expected a classifier, a segmenter, a detector or a captioner, '
            f'and its task has predictor={predictor!r}. Choose another run.'
        )
    for name in names:
        if name not in model.spec.class_names:
            raise unknown('--target: there is no class', name, model.spec.class_names)
    return kinds[predictor](model, names)


@dataclasses.dataclass(frozen=True)
class Predicted(Subject):
    """Targets whose scores are in a prediction, so that no gradients are needed."""

    @abc.abstractmethod
    def host_score(self, outputs: Records, numbers: Numbers) -> HostScores:
        """The score of each image, from the outputs of `Task.predict`."""

    @abc.abstractmethod
    def probability(self, outputs: Records, numbers: Numbers) -> HostScores:
        """A score in [0, 1] of each image, from `Task.predict`."""


@dataclasses.dataclass(frozen=True)
class Classes(Predicted):
    """The classes of an image. The score is a logit."""

    score_name = 'logit'

    @property
    def default_number(self) -> int:
        """One class, or three if an image can have several."""
        return 3 if self.model.spec.multi_label else 1

    def targets(self, example: Example, outputs: Records) -> list[Target]:
        """The likeliest classes. With several labels, those of at least 0.5 or the best one."""
        probabilities = np.asarray(outputs['probabilities'], np.float64)
        class_names = self.model.spec.class_names
        rows = np.argsort(-probabilities, kind='stable').tolist()
        if self.names:
            rows = [class_names.index(name) for name in self.names]
        elif self.model.spec.multi_label:
            likely = [row for row in rows if probabilities[row] >= 0.5]
            rows = likely or rows[:1]
        return [self._target(row, float(probabilities[row])) for row in rows]

    def _target(self, row: int, probability: float) -> Target:
        name = self.model.spec.class_names[row]
        return Target(
            name=f'{name} ({probability:.0%})',
            numbers={'class': np.int32(row)},
            answer={'class': name, 'probability': round(probability, 6)},
        )

    def anywhere(self, name: str) -> Numbers:
        """The number of the class."""
        return {'class': np.int32(self.model.spec.class_names.index(name))}

    def score(self, outputs: Tree, numbers: Numbers) -> Scores:
        """The logit of the class."""
        return scores.of_class(outputs, jnp.asarray(numbers['class']))

    def host_score(self, outputs: Records, numbers: Numbers) -> HostScores:
        """The logit of the class."""
        return np.asarray(outputs['logits'])[:, numbers['class']]

    def probability(self, outputs: Records, numbers: Numbers) -> HostScores:
        """The probability of the class."""
        return np.asarray(outputs['probabilities'])[:, numbers['class']]


@dataclasses.dataclass(frozen=True)
class ClassesOfPixels(Predicted):
    """The classes that pixels of an image have. The score is the mean of their logits."""

    score_name = 'mean logit of the pixels of the class'

    def targets(self, example: Example, outputs: Records) -> list[Target]:
        """The classes of pixels, the largest first, without a background."""
        probabilities = np.asarray(outputs['probabilities'])
        labels = probabilities.argmax(axis=-1)
        class_names = self.model.spec.class_names
        counts = np.bincount(labels.ravel(), minlength=len(class_names))
        hidden = segmentation.hidden_classes(class_names)
        rows = [row for row in np.argsort(-counts).tolist() if row not in hidden]
        if self.names:
            rows = [class_names.index(name) for name in self.names]
        return [self._target(row, labels == row) for row in rows if counts[row]]

    def _target(self, row: int, mask: np.ndarray) -> Target:
        name = self.model.spec.class_names[row]
        fraction = float(mask.mean())
        return Target(
            name=f'{name} ({fraction:.1%} of the image)',
            numbers={'class': np.int32(row), 'mask': mask[None]},
            answer={'class': name, 'fraction': round(fraction, 6)},
        )

    def anywhere(self, name: str) -> Numbers:
        """The number of the class, and all pixels."""
        row = self.model.spec.class_names.index(name)
        height, width, _ = self.model.spec.inputs['image'].shape
        return {'class': np.int32(row), 'mask': np.ones((1, height, width), bool)}

    def score(self, outputs: Tree, numbers: Numbers) -> Scores:
        """The mean logit of the class over the pixels that had it."""
        mask = jnp.asarray(numbers['mask'])
        logits = maps.resized(outputs['logits'], mask.shape[1:])
        mask = jnp.broadcast_to(mask, logits.shape[:3])
        return scores.of_pixels(logits, jnp.asarray(numbers['class']), mask)

    def host_score(self, outputs: Records, numbers: Numbers) -> HostScores:
        """The mean log odds of the class over the pixels that had it."""
        probabilities = np.asarray(outputs['probabilities'])[..., numbers['class']]
        clipped = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
        odds = np.log(clipped) - np.log1p(-clipped)
        return odds[:, numbers['mask'][0]].mean(axis=1)

    def probability(self, outputs: Records, numbers: Numbers) -> HostScores:
        """The mean probability of the class over the pixels that had it."""
        probabilities = np.asarray(outputs['probabilities'])[..., numbers['class']]
        return probabilities[:, numbers['mask'][0]].mean(axis=1)


@dataclasses.dataclass(frozen=True)
class Boxes(Predicted):
    """The objects that a detector finds. The score is the logit of the box's class."""

    score_name = 'logit of the class of the box; of hidden pixels, IoU x score'

    def targets(self, example: Example, outputs: Records) -> list[Target]:
        """The detections above the thresholds of the run, the best first."""
        least, _ = detection_answers.thresholds(self.model, None)
        class_names = self.model.spec.class_names
        numbers = outputs['classes'].astype(int)
        is_shown = outputs['valid'] & (outputs['scores'] >= least[numbers])
        in_image = finding.in_view(example, outputs)
        # `in_view` keeps the valid detections.
        places = np.cumsum(outputs['valid']) - 1
        targets = []
        for row in np.flatnonzero(is_shown).tolist():
            name = class_names[numbers[row]]
            if self.names and name not in self.names:
                continue
            ymin, xmin, ymax, xmax = in_image.boxes[places[row]].tolist()
            sides = (xmin, ymin, xmax - xmin, ymax - ymin)
            score = float(outputs['scores'][row])
            answer = {
                'class': name,
                'score': round(score, 6),
                'bbox': [round(side, 3) for side in sides],
            }
            box = np.asarray(outputs['boxes'][row], np.float32)
            targets.append(
                Target(
                    name=f'{name} ({score:.2f})',
                    numbers={'class': np.int32(numbers[row]), 'box': box},
                    answer=answer,
                )
            )
        return targets

    def with_row(self, target: Target, raw: Records) -> Target:
        """Add the row of the network's outputs that became a detection.

        Args:
            target: a detection.
            raw: of `Task.raw_predict` for one image.
        """
        number = target.numbers['class']
        boxes = np.asarray(raw['boxes'], np.float64)
        if boxes.ndim == 3:
            # A two-stage detector has a box for each class.
            boxes = boxes[:, number]
        ious = overlap.iou_on_host(boxes, target.numbers['box'][None].astype(float))
        same = ious[:, 0] >= _SAME_BOX
        class_scores = np.asarray(raw['scores'])[:, number]
        row = np.argmax(np.where(same, class_scores, -1))
        numbers = {**target.numbers, 'row': np.int32(row)}
        return dataclasses.replace(target, numbers=numbers)

    def score(self, outputs: Tree, numbers: Numbers) -> Scores:
        """The logit of the class in the row of the box."""
        logits = class_logits(outputs)
        details = self.model.spec.details
        number = jnp.asarray(numbers['class'])
        if details.outputs:
            number = jnp.asarray(details.outputs)[number]
        return scores.of_row(logits, jnp.asarray(numbers['row']), number)

    def host_score(self, outputs: Records, numbers: Numbers) -> HostScores:
        """The largest product of score and IoU with the box, of detections of its class.

        Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps" (D-RISE),
        2021, with the class instead of the similarity of all class scores.
        """
        best = []
        box = numbers['box'][None].astype(np.float64)
        for boxes, found, classes, valid in zip(
            outputs['boxes'],
            outputs['scores'],
            outputs['classes'],
            outputs['valid'],
            strict=True,
        ):
            counts = valid & (classes.astype(int) == numbers['class'])
            ious = overlap.iou_on_host(np.asarray(boxes, np.float64), box)[:, 0]
            best.append(np.max(np.where(counts, ious * found, 0), initial=0.0))
        return np.array(best)

    def probability(self, outputs: Records, numbers: Numbers) -> HostScores:
        """The same as `host_score`."""
        return self.host_score(outputs, numbers)


@dataclasses.dataclass(frozen=True)
class Words(Subject):
    """The words of a caption. The score is the logit of a word after the words before it."""

    score_name = 'logit of the word'
    default_number = 20

    def targets(self, example: Example, outputs: Records) -> list[Target]:
        """The words of the greedy caption, in their order."""
        vocabulary = self.model.spec.details.vocabulary
        caption = np.asarray(outputs['caption'])
        targets = []
        for row, number in enumerate(caption.tolist()):
            word = vocabulary[number]
            if number == decoding.END:
                break
            if self.names and word not in self.names:
                continue
            targets.append(
                Target(
                    name=f'{row + 1}: {word}',
                    numbers={
                        'row': np.int32(row),
                        'word': np.int32(number),
                        'caption': caption[None].astype(np.int32),
                    },
                    answer={'word': word, 'place': row + 1},
                )
            )
        return targets

    def inputs(self, numbers: Numbers, count: int) -> tuple[Array, ...]:
        """The caption, whose words condition the later ones."""
        caption = jnp.asarray(numbers['caption'])
        return (jnp.broadcast_to(caption, (count, caption.shape[1])),)

    def score(self, outputs: Tree, numbers: Numbers) -> Scores:
        """The logit of the word at its place."""
        row = jnp.asarray(numbers['row'])
        return scores.of_row(outputs, row, jnp.asarray(numbers['word']))

    def chance(self, outputs: Tree, numbers: Numbers) -> Scores:
        """The probability of the word at its place, from the outputs of `Network.apply`.

        Predictions have neither scores nor probabilities of words.
        """
        probabilities = jax.nn.softmax(outputs)
        row = jnp.asarray(numbers['row'])
        return scores.of_row(probabilities, row, jnp.asarray(numbers['word']))


def class_logits(outputs: Batch) -> Float[Array, 'b n k']:
    """The logits of each candidate box of a detector, without a background.

    Args:
        outputs: of `Network.apply`. A detector with queries has logits of several layers, the
            last of which counts. One with regions has a background first. YOLOX multiplies
            class scores by objectness, so the logits are added.
    """
    logits = outputs['logits']
    if logits.ndim == 4:
        return logits[:, -1]
    if 'regions' in outputs:
        return logits[..., 1:]
    if 'objectness' in outputs:
        return logits + outputs['objectness'][..., None]
    return logits
