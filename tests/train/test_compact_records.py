"""Records that are made compact on the host, beside the annotation of their example."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.core.task import Evaluation
from jaxvision.train import evaluation, processes, sharding
from jaxvision.train.run import reopen


def _evaluate(state, batch):
    return {'doubled': 2 * batch['image'].astype('float32')}


def _compact(record, annotation):
    """The pixels with ink, whose number differs between images."""
    ink = np.flatnonzero(annotation['image'])
    return {'ink': ink, 'total': record['doubled'].ravel()[ink].sum()}


EVALUATION = Evaluation(
    evaluate=_evaluate, summarize=dict, compact=_compact, ragged=('ink',)
)


def _gather(run, batch_size):
    run = dataclasses.replace(run, config=run.config.copy_and_resolve_references())
    run.config.data.batch_size = batch_size
    evaluate = sharding.compile_evaluate(_evaluate, run.mesh, run.shapes, False)
    return evaluation.gather(run, evaluate, 'test', run.restore(), EVALUATION)


@pytest.mark.parametrize('batch_size', [7, 64])
def test_each_record_is_beside_the_annotation_of_its_example(trained, batch_size):
    run = reopen(trained)
    source = run.sources['test']
    records = _gather(run, batch_size)
    assert records['index'].tolist() == list(range(len(source)))
    assert len({len(ink) for ink in records['ink']}) > 1
    for row, (ink, total) in enumerate(
        zip(records['ink'], records['total'], strict=True)
    ):
        image = np.asarray(source[row]['image'])
        np.testing.assert_array_equal(ink, np.flatnonzero(image))
        assert total == 2 * image.sum()


def test_examples_of_an_export_have_the_same_records(trained):
    run = reopen(trained)
    examples = evaluation.examples(run, 'test', 5)
    records = {**_evaluate(None, examples), 'index': examples['index']}
    source = evaluation.selected(run.sources['test'], 'test', 5)
    compacted = evaluation.compact(EVALUATION, source, records)
    whole = _gather(run, 64)
    rows = np.linspace(0, len(whole['index']) - 1, 5).astype(int)
    np.testing.assert_array_equal(compacted['total'], whole['total'][rows])
    for ink, expected in zip(compacted['ink'], whole['ink'][rows], strict=True):
        np.testing.assert_array_equal(ink, expected)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1)), max_size=12))
def test_records_of_any_shape_come_back_from_bytes(rows):
    records = [
        {'index': np.int32(i), 'runs': np.array(row, np.int32)}
        for i, row in enumerate(rows)
    ]
    unpacked = processes.unpack(processes.pack(records))
    assert len(unpacked) == len(records)
    for record, expected in zip(unpacked, records, strict=True):
        assert record['index'] == expected['index']
        np.testing.assert_array_equal(record['runs'], expected['runs'])
        assert record['runs'].dtype == np.int32
