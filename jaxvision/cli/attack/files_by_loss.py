"""Adversarial images of a user's files, for a detector or a segmenter."""

from collections.abc import Sequence

import numpy as np

from jaxvision.attacks.ascent import Ascended
from jaxvision.cli.attack import by_loss, predicted_truth
from jaxvision.cli.attack.request import Request
from jaxvision.cli.predict import finding
from jaxvision.core.errors import UserError
from jaxvision.core.types import Json
from jaxvision.data import files
from jaxvision.viz import figures
from jaxvision.viz.tables import Row, Table


def attack(request: Request, paths: Sequence[str]) -> Json:
    """Make an adversarial image of each file, print a table, and write pictures.

    The truth of a file is what the run predicts for it. OUT gets NAME.png, the adversarial
    image at the network's resolution without padding, and the task's figures.

    Args:
        request: the run, the attack and the output folder. It has one radius.
        paths: the files.

    Returns:
        The report, as it is in OUT/attack.json. 'kept' of a file is the fraction of its
        objects that are still found, or of its pixels that keep their class.

    Raises:
        UserError: There are several radii, no file can be read, the run finds nothing in
            them, or it separates objects by their centres.
    """
    settings = request.settings
    if len(settings.eps) > 1:
        raise UserError(
            f'--eps={",".join(settings.texts)}: expected one size for your files. Give one.'
        )
    if 'center' in request.victim.run.spec.targets:
        raise UserError(
            f'--workdir={request.victim.name}: expected a detector, or a segmenter without '
            'task.objects, for your files. Attack a split of its data, without FILE.'
        )
    examples, answered, errors = predicted_truth.read(request, paths)
    pictures = dict(zip(paths, files.picture_paths(paths, request.out), strict=True))

    def finish(clean: Ascended, attacked: Ascended, images: np.ndarray) -> Json:
        """Write the images; return the entries of the files."""
        entries: dict[str, Json] = {
            path: {'file': path, 'error': errors[path]} for path in errors
        }
        for row, path in enumerate(answered.paths):
            part = finding.visible_part(examples.example(row))
            pixels = np.ascontiguousarray(images[row][part])
            rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            figures.save(pictures[path], np.ascontiguousarray(rgb))
            entries[path] = {
                'file': path,
                'loss': float(clean.losses[row]),
                'adversarial_loss': float(attacked.losses[row]),
                'kept': answered.kept(row, pixels),
                'picture': str(pictures[path]),
            }
        ordered = [entries[path] for path in paths]
        Table('file', paths).print(_row(entry) for entry in ordered)
        return {'files': ordered}

    report = by_loss.evaluate(examples, 'your files', finish)
    # They are of splits.
    del report['split'], report['count']
    return report


def _row(entry: Json) -> Row:
    if 'error' in entry:
        return {'file': entry['file'], None: f'not attacked: {entry["error"]}'}
    return {
        'file': entry['file'],
        'loss': entry['loss'],
        'adversarial loss': entry['adversarial_loss'],
        'kept': entry['kept'],
    }
