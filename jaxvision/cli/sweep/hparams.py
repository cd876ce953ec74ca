"""The sweep in the HParams tab of TensorBoard.

The tab reads the metrics from the event files of the trials. A further file in the folder of the
sweep names the fields and the metric, and one in the folder of each trial has its parameters.
"""

import os
from typing import TYPE_CHECKING, Any

from jaxvision.cli.sweep import records, report, schedule
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Choice, Dimension, Interval, plain
from jaxvision.train.writers import write_events

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import Domain

# TensorBoard reads the files of a folder in the order of their names, this one first.
NAME = 'events.out.tfevents.0.sweep'


def write(sweep: Sweep) -> None:
    """Write the event files of a sweep and its trials that ended, over older ones."""
    from tensorboard.plugins.hparams import summary_v2

    space = sweep.space
    metric = summary_v2.Metric(
        sweep.selects.removeprefix('-'), dataset_type=summary_v2.Metric.VALIDATION
    )
    fields = [
        summary_v2.HParam(field, _domain(dimension))
        for field, dimension in space.items()
    ]
    begin = os.path.getmtime(sweep.folder / 'trials')
    experiment = summary_v2.hparams_config_pb(fields, [metric], begin)
    write_events(sweep.folder / NAME, [experiment])
    found = schedule.read(sweep)
    for number, point in report.points(sweep).items():
        if number not in found:
            continue
        folder = sweep.trial_folder(number)
        end = os.path.getmtime(folder / records.RESULT)
        record = found[number]
        parameters = {
            field: plain(space[field], value) for field, value in point.items()
        }
        start = summary_v2.hparams_pb(
            parameters, trial_id=folder.name, start_time_secs=end - record.seconds
        )
        write_events(folder / NAME, [start, _end(record, end)])


def _end(record: Record, seconds: float) -> 'Summary':
    """The summary that a trial has ended.

    Args:
        record: its results.
        seconds: when it ended, since 1970.
    """
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    # Protobuf makes its classes at import, where no type checker sees them.
    api: Any = api_pb2
    status = api.STATUS_FAILURE
    if record.state == records.TRAINED:
        status = api.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=seconds)
    content = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    value = summary_pb2.Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return summary_pb2.Summary(value=[value])


def _domain(dimension: Dimension) -> 'Domain':
    """The values of a field in the form of TensorBoard."""
    from tensorboard.plugins.hparams import summary_v2

    if isinstance(dimension, Choice):
        values = [plain(dimension, value) for value in dimension.values]
        return summary_v2.Discrete(values)
    if isinstance(dimension, Interval):
        return summary_v2.RealInterval(float(dimension.low), float(dimension.high))
    return summary_v2.IntInterval(dimension.low, dimension.high)
