"""Video summary: a score for every frame, learned from people's, or from what a good summary is."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import figures, keys
from jaxvision.data import decode, video
from jaxvision.errors import UserError
from jaxvision.image import color, describe as descriptions
from jaxvision.metrics import summary as metrics
from jaxvision.task import Evaluation, Task
from jaxvision.tasks import classification, features as networks
from jaxvision.train import optimizers, update
from jaxvision.train.state import create

DEFAULTS = dict(
    supervised=True,   # towards the frames' importance; False: the rewards of arXiv 1801.00054
    sees='frames',     # what the model is given: 'frames', or their fixed 'features'
    frames=120,        # of a video that are scored, at most: evenly spaced
    rate=2.0,          # of a film, frames a second, if that are not more
    features='layout',  # of a frame, that rewards compare and shots are told by; or a classifier's
    layer='pooled',     # RUN, and which of its intermediates
    episodes=5,        # summaries that are drawn of a video in a step
    expected_share=0.5,  # of the frames in them, towards which the scores are held
    regularize=0.01)     # by the square of what they differ from it, times this
