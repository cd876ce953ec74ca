import struct
import sys
import types

import pytest

from jaxvision.train import writers


def fill(folder, steps, start=0):
    with writers.Metrics(folder, start) as metrics:
        for step in steps:
            metrics.write(step, {'train/loss': 1 / step})
        metrics.flush()


def steps_of(folder):
    return [row['step'] for row in writers.read_rows(folder / 'metrics.jsonl')]


def test_rows_come_back_as_they_were_written(tmp_path):
    with writers.Metrics(tmp_path) as metrics:
        metrics.write(3, {'train/loss': 0.1, 'perf/images_per_second': 1e30})
        metrics.flush()
        rows = writers.read_rows(
            tmp_path / 'metrics.jsonl'
        )  # on the disk while it is open
    assert (
        rows
        == metrics.rows
        == [{'step': 3, 'train/loss': 0.1, 'perf/images_per_second': 1e30}]
    )


def test_opening_at_a_step_drops_what_came_after_it(tmp_path):
    fill(tmp_path, [1, 2, 3, 4])
    fill(tmp_path, [3, 4, 5], start=2)
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5]
    fill(tmp_path, [])
    assert steps_of(tmp_path) == []


@pytest.mark.parametrize(
    'torn', ['{"step": 3, "tra', '{"step": 3, "train/loss": 0.1', '\x00\x00']
)
def test_a_last_line_that_a_kill_tore_is_left_out(tmp_path, torn):
    fill(tmp_path, [1, 2])
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write(torn)
    assert steps_of(tmp_path) == [1, 2]
    fill(tmp_path, [3], start=2)
    assert steps_of(tmp_path) == [1, 2, 3]


def test_tensorboard_forgets_only_what_a_resumed_run_repeats(tmp_path, monkeypatch):
    # Without this module TensorBoard's reader loads TensorFlow, which takes seconds.
    monkeypatch.setitem(
        sys.modules, 'tensorboard.compat.notf', types.ModuleType('notf')
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fill(tmp_path, [1, 2, 3, 4])
    fill(tmp_path, [3, 4], start=2)
    events = EventAccumulator(str(tmp_path)).Reload()
    found = [(event.step, event.value) for event in events.Scalars('train/loss')]
    assert [step for step, _ in found] == [1, 2, 3, 4]
    assert [value for _, value in found] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])


def test_events_are_framed_as_records_with_their_length_first(tmp_path):
    fill(tmp_path, [1])
    (file,) = tmp_path.glob('events.out.tfevents.*')
    data, records = file.read_bytes(), 0
    while data:
        (length,) = struct.unpack('<Q', data[:8])
        data, records = data[8 + 4 + length + 4 :], records + 1
    assert records == 3  # the file's version, the session's start, and one row


def test_progress_counts_from_the_last_restart(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(writers.time, 'monotonic', lambda: now[0])
    progress = writers.Progress(0, 300, batch_size=8, every=2.0)
    now[0] = 110
    progress.restart(50)  # an evaluation took ten seconds
    now[0] = 115
    assert progress.images_per_second(100) == 80
    progress.show(100, {'loss': 0.5}, 80.0)
    now[0] = 116
    progress.show(110, {'loss': 0.4}, 80.0)  # too soon after the last
    lines = capsys.readouterr().out.splitlines()
    assert lines == ['step 100/300  loss 0.5  80 images/s  0:20 left']


@pytest.mark.parametrize(
    'seconds, text',
    [
        (0.0, '0:00'),
        (59.4, '0:59'),
        (59.6, '1:00'),
        (65.0, '1:05'),
        (7384.0, '2:03:04'),
    ],
)
def test_duration(seconds, text):
    assert writers.duration(seconds) == text
