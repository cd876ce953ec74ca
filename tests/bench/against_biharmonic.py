"""A run of inpainting beside scikit-image's `inpaint_biharmonic`: PSNR in the holes, of the same
evaluation images with the same holes, all squared errors pooled.

    python tests/bench/against_biharmonic.py runs/inpainting runs/inpainting-photos

Where the data set has few classes, as the photographs, each is given too.
"""

import argparse

import jax
import numpy as np
from skimage.restoration import inpaint_biharmonic

from jaxvision.cli.runtime import start_jax
from jaxvision.data import pipeline
from jaxvision.train import run as runs
from jaxvision.train import saved

FEW_CLASSES = 5


def biharmonic(image, hole):
    """Image uint8 [H, W, C], hole bool [H, W, 1] -> float in [0, 255]."""
    return 255 * inpaint_biharmonic(image, hole[..., 0], channel_axis=-1)


def squared_errors(this, state) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """({method: of each image}, how many values are missing, labels)."""
    predict = jax.jit(this.task.predict)
    found, missing, labels = {'run': [], 'biharmonic': []}, [], []
    for batch in pipeline.eval_batches(
        this.sources['test'], this.task.prepare, batch_size=32
    ):
        holes = batch['mask'] > 0
        inputs = {name: batch[name] for name in ('image', 'mask')}
        filled = {
            'run': jax.device_get(predict(state.variables, inputs))['image'],
            'biharmonic': np.stack(
                [
                    biharmonic(image, hole)
                    for image, hole in zip(batch['image'], holes, strict=True)
                ]
            ),
        }
        for name, images in filled.items():
            error = holes * (images - batch['image'].astype(np.float64)) / 255
            found[name].append(np.square(error).sum((1, 2, 3))[batch['present']])
        missing.append(
            (holes.sum((1, 2, 3)) * batch['image'].shape[-1])[batch['present']]
        )
        labels.append(batch['label'][batch['present']])
    join = np.concatenate
    return (
        {name: join(parts) for name, parts in found.items()},
        join(missing),
        join(labels),
    )


def report(name: str, errors: dict[str, np.ndarray], missing: np.ndarray) -> None:
    psnr = {
        method: -10 * np.log10(values.sum() / missing.sum())
        for method, values in errors.items()
    }
    print(
        f'{name:24} {len(missing):6} {psnr["run"]:9.2f} {psnr["biharmonic"]:11.2f} '
        f'{psnr["run"] - psnr["biharmonic"]:+11.2f}',
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('workdir', nargs='+', type=runs.Path)
    parser.add_argument('--step', default='last')
    options = parser.parse_args()
    print(f'{"PSNR in the hole, dB":24} images       run  biharmonic  difference')
    for workdir in options.workdir:
        start_jax(saved.read_config(workdir))
        this = runs.reopen(workdir)
        errors, missing, labels = squared_errors(this, this.restore(options.step))
        report(str(workdir), errors, missing)
        if len(np.unique(labels)) <= FEW_CLASSES:
            for label in np.unique(labels):
                rows = labels == label
                report(
                    f'  {this.sources["test"].info.class_names[label]}',
                    {name: values[rows] for name, values in errors.items()},
                    missing[rows],
                )


if __name__ == '__main__':
    main()
