"""The calibration of a run, from its outputs to the report and calibration.json."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from jaxvision.cli import stored
from jaxvision.cli.calibrate import fitting, outputs
from jaxvision.cli.calibrate.fitting import Settings
from jaxvision.core.errors import UserError
from jaxvision.core.files import write_json
from jaxvision.core.types import Json, Split
from jaxvision.tasks.shared.calibrated import Calibration
from jaxvision.train import calibration as calibration_file
from jaxvision.viz import figures
from jaxvision.viz import reliability as drawing
from jaxvision.viz.tables import Row, Table

NAME = 'calibrate.json'
PICTURE = 'reliability.png'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The calibrated run and the settings of the calibration.

    Attributes:
        workdir: the run folder.
        step: 'last', 'best' or a number.
        split: the split that is measured.
        settings: the settings of the fit.
        ood: other images, a run or a source; None: none.
        ood_dir: `data.dir` of that source; None: that of the run.
        out: the output folder; None: RUN/calibrate/STEP-SPLIT.
        pictures: whether to draw the reliability diagram.
    """

    workdir: str
    step: str
    split: Split
    settings: Settings
    ood: str | None
    ood_dir: str | None
    out: str | None
    pictures: bool


def evaluate(request: Request) -> None:
    """Fit on validation, measure a split, print tables and write the files.

    Raises:
        UserError: There is no such run, checkpoint, split or source, the run is no
            classifier, or the output folder holds other files.
    """
    classifier = outputs.open_classifier(request.workdir, request.step)
    step = classifier.step
    out = Path(request.workdir, 'calibrate', f'{step}-{request.split}')
    if request.out is not None:
        out = Path(request.out)
    stored.check_replaceable(out, NAME)
    # A mistake in the source is found before the outputs are computed.
    others = None
    if request.ood is not None:
        others = outputs.open_others(classifier.run, request.ood, request.ood_dir)
    settings = request.settings
    validation = classifier.outputs('validation')
    measured = classifier.outputs(request.split, features=others is not None)
    fitted, warnings = fitting.fit(settings, validation)
    report = {
        'calibrated': request.workdir,
        'step': step,
        'fitted_on': {'split': 'validation', 'examples': fitted.examples},
        'measured_on': {'split': request.split, 'examples': len(measured['label'])},
        **dataclasses.asdict(settings),
        'accuracy': float((measured['logits'].argmax(1) == measured['label']).mean()),
        'before': fitting.measure(settings, 1.0, measured),
        'after': fitting.measure(settings, fitted.temperature, measured),
        'conformal': fitting.measure_sets(settings, fitted, measured),
    }
    if others is not None:
        report['ood'] = {
            'images': request.ood,
            'examples': len(others),
            'layer': classifier.layer,
            'scores': fitting.measure_others(
                classifier.outputs('train', features=True),
                measured,
                classifier.outputs_of(others),
            ),
        }
    report['warnings'] = [*warnings, *_warnings(request, fitted, report)]
    _print(report)
    _write(request, report, out)
    calibration_file.write_for(classifier.run, classifier.state, fitted.to_json())
    path = Path(request.workdir, calibration_file.NAME)
    print(f'in {out}: {NAME}\nwritten: {path}')


def _warnings(request: Request, fitted: Calibration, report: Json) -> Iterator[str]:
    if request.split == 'validation':
        yield 'the measured split is the one on which all values were fitted'
    if request.step == 'best':
        yield (
            'the validation split selected this checkpoint, so that the coverage may be '
            'slightly below 1 - alpha'
        )
    if report['accuracy'] > 1 - fitted.alpha:
        yield (
            f'the accuracy is above 1 - alpha, so that some sets are empty: an alpha below '
            f'{1 - report["accuracy"]:.2g} avoids them'
        )


def _write(request: Request, report: Json, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if request.pictures:
            picture = drawing.diagram(report['before'], report['after'])
            figures.save(out / PICTURE, picture)
        write_json(out / NAME, report)
    except OSError as error:
        raise UserError(
            f'--out={out}: expected a folder that can be written '
            f'({error.strerror or error}). Give another --out.'
        ) from error


def _print(report: Json) -> None:
    """Print the tables of a report, and its warnings."""
    measured_on = report['measured_on']
    print(
        f'{report["calibrated"]}, step {report["step"]}: fitted on '
        f'{report["fitted_on"]["examples"]:,} examples of validation, measured on '
        f'{measured_on["examples"]:,} of {measured_on["split"]}, accuracy '
        f'{report["accuracy"]:.4f}'
    )
    rows = [_calibration_row(name, report[name]) for name in ('before', 'after')]
    Table('calibration', ['before', 'after']).print(rows)
    print()
    sets = report['conformal']
    Table('sets', sets).print(_set_row(name, row) for name, row in sets.items())
    if 'ood' in report:
        scores = report['ood']['scores']
        print()
        Table('score', scores).print({'score': name, **scores[name]} for name in scores)
    for warning in report['warnings']:
        print(f'warning: {warning}')


def _calibration_row(name: str, values: Json) -> Row:
    width = values['width']
    return {
        'calibration': name,
        'temperature': values['temperature'],
        'nll': values['nll'],
        'brier': values['brier'],
        'ECE': width['calibration_error'],
        'ECE if perfect': f'{width["null_mean"]:.4f}, at most {width["null_95"]:.4f}',
        'p': width['p_value'],
        'ECE of equal mass': values['mass']['calibration_error'],
    }


def _set_row(name: str, values: Json) -> Row:
    low, high = values['band']
    return {
        'sets': name,
        'coverage': values['coverage'],
        'expected': f'{low:.4f} to {high:.4f}',
        'mean size': values['mean_size'],
        'empty': values['empty'],
    }
