"""Which metrics may select a checkpoint, and in which direction."""

import re

import pytest

from jaxvision.core.errors import UserError
from jaxvision.train.selection import check_direction


@pytest.mark.parametrize(
    'best, expected',
    [
        ('nll', '-nll'),
        ('calibration_error', '-calibration_error'),
        ('fid_cnn', '-fid_cnn'),
        ('mse_ratio', '-mse_ratio'),
        ('few/nll', '-few/nll'),
        ('-accuracy', 'accuracy'),
        ('-top5_accuracy', 'top5_accuracy'),
        ('-psnr_y', 'psnr_y'),
    ],
)
def test_a_sign_that_selects_the_worst_checkpoint_is_refused(best, expected):
    message = f'train.best={best}: expected {expected}, since'
    with pytest.raises(UserError, match=re.escape(message)):
        check_direction(best)
    check_direction(expected)


@pytest.mark.parametrize('best', ['tau_b', '-tau_b', 'score', '-score', 'error_recall'])
def test_names_that_do_not_tell_a_direction_pass(best):
    check_direction(best)
