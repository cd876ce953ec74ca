"""`summarize` returns the metrics that its evaluation declares."""

import pytest

from jaxvision.core.errors import UserError
from jaxvision.core.task import Evaluation
from jaxvision.train import evaluation


def check(declared, returned):
    declaring = Evaluation(
        evaluate=lambda state, batch: batch,
        summarize=lambda records: {},
        metrics=declared,
    )
    evaluation._check_declared('eval', declaring, dict.fromkeys(returned, 0.5))


@pytest.mark.parametrize(
    'declared, returned',
    [
        (('psnr',), ('psnr',)),
        ((), ('psnr', 'ssim')),
        (('psnr', 'psnr/cat', 'psnr/dog'), ('psnr', 'psnr/dog')),
    ],
)
def test_classes_without_examples_have_no_metric(declared, returned):
    check(declared, returned)


@pytest.mark.parametrize(
    'declared, returned',
    [
        (('psnr', 'ssim'), ('psnr',)),
        (('psnr',), ('psnr', 'ssim')),
        (('psnr', 'psnr/cat'), ('psnr', 'psnr/dog')),
    ],
)
def test_a_missing_or_an_undeclared_metric_is_an_error(declared, returned):
    with pytest.raises(UserError, match='declares the metrics'):
        check(declared, returned)
