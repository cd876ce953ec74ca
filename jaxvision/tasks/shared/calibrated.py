"""Content of calibration.json for a classifier: a temperature and thresholds of conformal sets."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float

from jaxvision.core.errors import UserError
from jaxvision.core.task import Show, Shown, Task
from jaxvision.core.types import Example, Json, Records
from jaxvision.metrics import conformal

Probabilities = Float[np.ndarray, 'n k']
Uniform = Float[np.ndarray, 'n']

# Least ambiguous classes, adaptive sets, and these with a penalty on large sets.
METHODS = ('lac', 'aps', 'raps')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """The fitted values of a classifier.

    Attributes:
        temperature: divides the logits.
        alpha: the accepted probability of a set without the true class.
        method: the method of the sets that `predict` writes, one of `METHODS`.
        thresholds: of each method; infinite: each set has every class.
        examples: number of examples of the validation split.
        penalty: of RAPS, see `conformal.raps_scores`.
        free_ranks: of RAPS.
    """

    temperature: float
    alpha: float
    method: str
    thresholds: Mapping[str, float]
    examples: int
    penalty: float = conformal.PENALTY
    free_ranks: int = conformal.FREE_RANKS

    def to_json(self) -> Json:
        """Return the part of calibration.json. JSON has null for an infinite threshold."""
        thresholds = {
            name: None if math.isinf(limit) else limit
            for name, limit in self.thresholds.items()
        }
        return {
            'temperature': self.temperature,
            'conformal': {
                'alpha': self.alpha,
                'method': self.method,
                'thresholds': thresholds,
                'penalty': self.penalty,
                'free_ranks': self.free_ranks,
            },
            'examples': self.examples,
        }

    @classmethod
    def from_json(cls, values: Json) -> 'Calibration | None':
        """Read calibration.json; None if it is empty or of another kind of task.

        Raises:
            UserError: The values are damaged.
        """
        if 'temperature' not in values:
            return None
        try:
            return cls._parse(values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                'calibration.json: expected a temperature above 0 and thresholds of '
                'conformal sets. Run `jaxvision calibrate` again.'
            ) from error

    @classmethod
    def _parse(cls, values: Json) -> 'Calibration':
        stored = values['conformal']
        thresholds = {
            name: math.inf if limit is None else float(limit)
            for name, limit in stored['thresholds'].items()
        }
        temperature = float(values['temperature'])
        is_valid = temperature > 0 and math.isfinite(temperature)
        if not is_valid or stored['method'] not in {*METHODS} & thresholds.keys():
            raise ValueError('temperature or method')
        return cls(
            temperature=temperature,
            alpha=float(stored['alpha']),
            method=stored['method'],
            thresholds=thresholds,
            examples=int(values['examples']),
            penalty=float(stored['penalty']),
            free_ranks=int(stored['free_ranks']),
        )

    def scores(
        self, method: str, probabilities: Probabilities, uniform: Uniform
    ) -> conformal.Scores:
        """Compute the conformal scores of all classes.

        Args:
            method: one of `METHODS`.
            probabilities: calibrated probabilities, [N, K].
            uniform: a random number in [0, 1] for each example, [N]. LAC uses none.
        """
        if method == 'lac':
            return conformal.lac_scores(probabilities)
        if method == 'aps':
            return conformal.aps_scores(probabilities, uniform)
        return conformal.raps_scores(
            probabilities, uniform, self.penalty, self.free_ranks
        )

    def set_of(
        self, probabilities: Float[np.ndarray, 'k'], uniform: float
    ) -> np.ndarray:
        """List the classes of the conformal set, the likeliest first.

        Args:
            probabilities: calibrated probabilities of one image.
            uniform: a random number in [0, 1].
        """
        scores = self.scores(self.method, probabilities[None], np.array([uniform]))
        included = conformal.sets(scores, self.thresholds[self.method])[0]
        order = np.argsort(-probabilities, kind='stable')
        return order[included[order]]


def with_temperature(task: Task, values: Json) -> Task:
    """Divide the logits of a task by the temperature of calibration.json, if it has one.

    Args:
        task: the task of a classifier with one label an example, or any other task.
        values: the content of calibration.json, or {}.

    Returns:
        The task, whose `predict` returns calibrated logits and probabilities.

    Raises:
        UserError: The values are damaged.
    """
    calibration = Calibration.from_json(values)
    if calibration is None:
        return task

    def predict(variables, inputs):
        logits = task.predict(variables, inputs)['logits'] / calibration.temperature
        return {'logits': logits, 'probabilities': jax.nn.softmax(logits)}

    return dataclasses.replace(task, predict=predict)


def show_sets(values: Json, class_names: Sequence[str], show: Show) -> Show:
    """Add the conformal set to the answers of a classifier, if thresholds were fitted.

    Args:
        values: the content of calibration.json, or {}.
        class_names: names of the classes.
        show: `(inputs, outputs) -> (answer, picture)`.

    Returns:
        Such a function. Its answer has 'conformal_set', the names of the classes. The
        random part of a score is a function of the prepared image alone.

    Raises:
        UserError: The values are damaged.
    """
    calibration = Calibration.from_json(values)
    if calibration is None:
        return show

    def show_with_set(inputs: Example, outputs: Records) -> Shown:
        answer, picture = show(inputs, outputs)
        classes = calibration.set_of(outputs['probabilities'], uniform_of(inputs))
        names = [class_names[number] for number in classes]
        return {**answer, 'conformal_set': names}, picture

    return show_with_set


def uniform_of(inputs: Example) -> float:
    """Derive a number in [0, 1) from the image of a prepared example."""
    digest = hashlib.sha256(np.ascontiguousarray(inputs['image']).tobytes()).digest()
    return int.from_bytes(digest[:6], 'big') / 2**48
