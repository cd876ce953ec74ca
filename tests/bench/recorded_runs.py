"""Record short training runs of a checkout, and compare two records bit by bit.

A refactoring must not change what a run computes. This script trains every config for
a few steps on the CPU and records the metrics and the last checkpoint of each run:

    record.py record --checkout OLD_CHECKOUT --out old.json
    record.py record --checkout NEW_CHECKOUT --out new.json
    record.py compare old.json new.json

`--only NAME ...` records some runs, and those that they read; compare such a record
with `--partial`.

It imports nothing of jaxvision. Runs are started through the command line, and results
are read from the run folder: `metrics.jsonl` and `checkpoints/STEP/state`.

Beside `old.json`, the folder `old.values/` holds the values of all leaves, so that
`compare` can tell how large a difference is. Parameters are compared as a multiset, so
a renamed path is reported but is no difference.
"""

import argparse
import collections
import dataclasses
import difflib
import hashlib
import itertools
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes  # noqa: F401  (makes NumPy know bfloat16)
import numpy as np

TIMEOUT = 900  # seconds of one run
SHOWN = 4  # differences that are printed for one run

# Fields of every run; a run may set its own.
COMMON = (
    'parallel.cpu_devices=1 train.steps=24 train.log_every=4 train.eval_every=24 '
    'train.checkpoint_every=24 '
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        config: 'FILE' or 'FILE:ARGUMENT' of configs/, without '.py'.
        fields: 'FIELD=VALUE ...', config fields that are set on the command line.
        after: names of runs that this run reads; they must come earlier in `RUNS`.
    """

    config: str
    fields: str
    after: tuple[str, ...] = ()


# Fields that several runs share. A later value of a field replaces an earlier one.
# Placeholders: {runs} is the folder of all runs, {data} that of Fashion-MNIST;
# {images}, {tagged} and {films} are the data sets that `make_data` writes.
SMALL_EPISODES = (
    'data.image_size=28 task.ways=5 task.evaluations=5x1,5x5 task.test_queries=5 '
    'task.test_episodes=20 '
)
COMPARING = SMALL_EPISODES + 'model.variant=8x1-16x1-16x1-16x1-16x1 '
ADAPTING = SMALL_EPISODES + 'model.variant=8-16 task.inner_steps=2 '
SMALL_CAPTIONER = (
    'data.batch_size=16 model.variant=8x1-16x1-24x1-32x1 task.vocabulary_examples=400 '
    'task.beam_size=2 task.decoder.hidden=32 task.decoder.embedding=16 '
    'task.decoder.attention=16 '
)
PRETRAINED = (
    'data.per_class=4 data.test_split=test[:64] data.image_size=64 data.batch_size=8 '
)

RUNS = {
    # Classification: data sources, augmentation, optimizers, engine.
    'cnn': Run('cnn', 'train.eval_every=12'),
    'cnn_fashion_mnist': Run(
        'cnn:fashion_mnist', 'data.dir={data} data.per_class=40 data.batch_size=32'
    ),
    'cnn_folder': Run(
        'cnn:folder:{images}',
        'data.image_size=24 data.batch_size=8 task.resize=center_crop '
        'task.crop_scale=0.5 task.augment.flip=true task.augment.rotate=10.0 '
        'task.augment.color=0.3 task.augment.cutout=0.2 model.options.dropout=0.2 '
        'optimizer.name=lamb',
    ),
    'cnn_multi_label': Run(
        'cnn:folder:{tagged}', 'data.image_size=24 data.batch_size=8'
    ),
    'cnn_bfloat16': Run(
        'cnn:digits',
        'model.variant=8-16 model.dtype=bfloat16 optimizer.name=muon '
        'optimizer.schedule=linear task.label_smoothing=0.1',
    ),
    'cnn_frozen': Run(
        'cnn',
        'train.init_from={runs}/cnn train.init_new=model/head '
        'train.frozen=model/stage1_conv1,model/stage1_norm1 task.layer_decay=0.7 '
        'task.statistics=running',
        after=('cnn',),
    ),
    'cnn_pmap': Run('cnn', 'parallel.mode=pmap parallel.cpu_devices=2'),
    'cnn_fsdp': Run(
        'cnn',
        'parallel.fsdp=2 parallel.cpu_devices=2 model.variant=16x1-64-128 '
        'optimizer.ema=0.9',
    ),
    'resnet': Run(
        'resnet:digits', 'data.batch_size=8 optimizer.accumulate=2 optimizer.ema=0.9'
    ),
    'resnet_augmented': Run(
        'resnet:folder:{images}',
        'data.image_size=16 data.batch_size=8 task.augment.randaugment=2 '
        'task.augment.mixup=0.2 task.augment.cutmix=1.0 model.options.drop_path=0.1 '
        'model.options.remat=true optimizer.name=sgd optimizer.schedule=cosine '
        'optimizer.warmup=6',
    ),
    'vgg': Run('vgg:digits', 'data.batch_size=16'),
    'vit': Run(
        'vit',
        'data.batch_size=32 optimizer.warmup=6 model.options.depth=2 '
        'model.options.dropout=0.1 model.options.drop_path=0.1',
    ),
    'vit_lora': Run(
        'vit',
        'data.batch_size=32 optimizer.warmup=6 model.options.depth=2 '
        "'task.trained=lora 4' train.init_from={runs}/vit "
        'train.init_new=model/head,model/lora',
        after=('vit',),
    ),
    # Published weights.
    'transfer': Run('transfer:digits', PRETRAINED + 'train.steps=0'),
    'transfer_full': Run(
        'transfer:digits,full', PRETRAINED + 'model.options.drop_path=0.1'
    ),
    'transfer_last': Run('transfer:digits,last', PRETRAINED),
    'few_shot_pretrained': Run(
        'few_shot:digit_pairs,pretrained',
        SMALL_EPISODES + 'data.image_size=48 task.test_episodes=4 train.steps=0',
    ),
    # Few-shot learning.
    'few_shot': Run('few_shot', COMPARING + 'data.batch_size=2'),
    'few_shot_matching': Run('few_shot:digit_pairs,matching', COMPARING),
    'few_shot_baseline': Run('few_shot:digit_pairs,baseline', COMPARING),
    'few_shot_anil': Run('few_shot:digit_pairs,anil', COMPARING),
    'few_shot_maml': Run('few_shot:digit_pairs,maml', ADAPTING),
    'few_shot_first_order_maml': Run('few_shot:digit_pairs,first_order_maml', ADAPTING),
    'few_shot_reptile': Run('few_shot:digit_pairs,reptile', ADAPTING),
    # Generative adversarial networks; the first one trains its feature extractor.
    'gan': Run(
        'gan:digits',
        'model.variant=32x1-16x1 model.options.discriminator=32-16 '
        'model.options.patch=1 task.samples=200',
    ),
    'gan_dcgan': Run(
        'gan:mnist5k,dcgan',
        'data.batch_size=16 model.variant=32-16-8 task.feature_extractor={runs}/cnn '
        'task.samples=200',
        after=('cnn',),
    ),
    'gan_penalty': Run(
        'gan:mnist5k,dcgan',
        'data.batch_size=16 model.name=sngan model.variant=16-16 '
        'task.loss=wasserstein task.gradient_penalty=10.0 task.critic_steps=2 '
        'task.conditional=false task.diffaugment=color,translation,cutout '
        'task.feature_extractor={runs}/cnn task.samples=200',
        after=('cnn',),
    ),
    'cnn_synthetic': Run(
        'cnn',
        'data.per_class=20 data.synthetic={runs}/gan_dcgan data.synthetic_examples=200',
        after=('gan_dcgan',),
    ),
    # Restoration.
    'inpainting': Run(
        'inpainting',
        'data.batch_size=16 data.test_split=test[:200] model.variant=8x1-16-24-32',
    ),
    'inpainting_photos': Run(
        'inpainting:photos', 'data.batch_size=4 model.variant=8x1-16-24-32'
    ),
    'inpainting_adversarial': Run(
        'inpainting:digits',
        'data.batch_size=16 model.variant=8x1-16 model.options.convolution=gated '
        'task.mask=border task.border_width=2 task.adversarial_weight=0.001 '
        'task.discriminator=8-16',
    ),
    'super_resolution': Run(
        'super_resolution',
        'data.batch_size=4 model.variant=2x8 optimizer.warmup=6 optimizer.ema=0.9',
    ),
    'super_resolution_x4': Run(
        'super_resolution',
        'data.batch_size=4 model.variant=2x8 optimizer.warmup=6 task.scale=4 '
        'task.patch=12 task.degradation.blur=1.0 task.degradation.noise=0.02 '
        'task.degradation.jpeg=60',
    ),
    'super_resolution_adversarial': Run(
        'super_resolution:digits',
        'data.batch_size=4 data.test_split=test[:8] model.variant=srresnet '
        'optimizer.warmup=6 task.patch=4 task.tile=8 task.adversarial_weight=0.001 '
        'task.discriminator=8-16 task.perceptual_weight=0.01 task.feature_extractor={runs}/cnn',
        after=('cnn',),
    ),
    # Captioning.
    'captioning': Run('captioning', SMALL_CAPTIONER),
    'captioning_self_critical': Run(
        'captioning:digit_scenes/64,self_critical',
        SMALL_CAPTIONER + 'train.init_from={runs}/captioning',
        after=('captioning',),
    ),
    # Video.
    'video': Run('video', 'data.batch_size=8 model.variant=8-8-16'),
    'video_frame_average': Run(
        'video',
        'data.batch_size=8 model.name=frame_average model.variant=8-8-16 '
        'task.augment.flip=true',
    ),
    'video_prediction': Run(
        'video_prediction', 'data.batch_size=2 model.variant=16-16 task.frames_out=5'
    ),
    'video_summary': Run(
        'video_summary', 'data.batch_size=4 model.variant=8-8-16 task.frames=60'
    ),
    'video_summary_rewards': Run(
        'video_summary:videos:{films}',
        'data.batch_size=4 task.frames=24 task.montages=40 task.episodes=10',
    ),
}


# ---------------------------------------------------------------------------------------
# Recording


def record(checkout: Path, out: Path, only: list[str], work: Path, data: Path) -> None:
    """Run everything that is asked for, one run at a time, and write the record."""
    names = with_requirements(only or list(RUNS))
    environment = prepare(checkout, work)
    places = {
        'runs': work / 'runs',
        'data': data,
        'images': work / 'images',
        'tagged': work / 'tagged',
        'films': work / 'films',
    }
    values = values_folder(out)
    shutil.rmtree(values, ignore_errors=True)
    values.mkdir(parents=True)
    runs = {}
    for number, name in enumerate(names, start=1):
        start = time.monotonic(), children_seconds()
        command = command_line(RUNS[name], places, work / 'runs' / name)
        runs[name] = record_run(
            command, checkout, environment, work / 'runs' / name, values / f'{name}.npz'
        )
        took = f'{time.monotonic() - start[0]:.0f} s'
        processor = f'{children_seconds() - start[1]:.0f} CPU seconds'
        outcome = runs[name].get('failed', 'recorded')
        print(
            f'{number}/{len(names)} {name}: {outcome} ({took}, {processor})', flush=True
        )
        content = {'made_with': made_with(checkout), 'runs': runs}
        out.write_text(json.dumps(content, indent=1) + '\n')


def with_requirements(names: list[str]) -> list[str]:
    """The names and all runs that they read, in the order of `RUNS`."""
    wanted = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in RUNS:
            sys.exit(f'there is no run {name!r}; there are {", ".join(RUNS)}')
        wanted.add(name)
        pending += RUNS[name].after
    return [name for name in RUNS if name in wanted]


def prepare(checkout: Path, work: Path) -> dict[str, str]:
    """Empty the work folder, write the data sets, and return the runs' environment.

    Prepared data sets, feature extractors and features are made anew in the work folder, because
    they depend on the code. Only compiled programs are shared with the user's cache: JAX
    finds them by the whole program.
    """
    for name in ('runs', 'cache', 'images', 'tagged', 'films'):
        shutil.rmtree(work / name, ignore_errors=True)
    (work / 'runs').mkdir(parents=True)
    make_data(work)
    home = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    programs = home / 'jaxvision' / 'xla'
    programs.mkdir(parents=True, exist_ok=True)
    cache = work / 'cache' / 'jaxvision'
    cache.mkdir(parents=True)
    (cache / 'xla').symlink_to(programs.absolute())
    environment = dict(os.environ)
    environment.pop('XLA_FLAGS', None)
    environment |= {
        'PYTHONPATH': str(checkout),
        'XDG_CACHE_HOME': str(work / 'cache'),
        'JAX_PLATFORMS': 'cpu',
        # Else JAX's key of a compiled program contains the path of the work folder.
        'JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES': 'none',
    }
    used = subprocess.run(
        [sys.executable, '-c', 'import jaxvision; print(jaxvision.__file__)'],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(used).is_relative_to(checkout):
        sys.exit(f'the runs would use {used}, which is not in {checkout}')
    return environment


def command_line(run: Run, places: dict[str, Path], folder: Path) -> list[str]:
    """The command of a run, whose results go to `folder`."""
    file, _, argument = run.config.format(**places).partition(':')
    config = f'configs/{file}.py'
    if argument:
        config += f':{argument}'
    command = [sys.executable, '-m', 'jaxvision.main', '--config', config]
    command += ['--workdir', str(folder)]
    for field in shlex.split(COMMON + run.fields):
        command.append(f'--config.{field.format(**places)}')
    return command


def record_run(
    command: list[str],
    checkout: Path,
    environment: dict[str, str],
    folder: Path,
    values: Path,
) -> dict:
    """Run a command and return what it computed; its leaves go to the file `values`.

    Returns:
        'metrics', the rows without timings; 'sorted_leaves', a hash of all leaves in
        sorted order; 'leaves', {path: {'shape', 'dtype', 'sha256'}}. If the run
        failed, only 'failed' and 'output'.
    """
    try:
        done = subprocess.run(
            command,
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return {'failed': f'no end after {TIMEOUT} s', 'output': []}
    folder.mkdir(exist_ok=True)
    (folder / 'output.txt').write_text(done.stdout)
    if done.returncode:
        last_lines = done.stdout.splitlines()[-12:]
        return {'failed': f'exit code {done.returncode}', 'output': last_lines}
    arrays = read_leaves(folder)
    np.savez(values, **arrays)
    leaves = {path: described(array) for path, array in sorted(arrays.items())}
    joined = '\n'.join(sorted(map(content, leaves.values())))
    return {
        'metrics': read_metrics(folder / 'metrics.jsonl'),
        'sorted_leaves': hashlib.sha256(joined.encode()).hexdigest(),
        'leaves': leaves,
    }


def read_metrics(file: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl without timings."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if not name.startswith('perf/')}
        for row in rows
    ]


def read_leaves(folder: Path) -> dict[str, np.ndarray]:
    """{path: values} of the last checkpoint of a run."""
    os.environ['JAX_PLATFORMS'] = 'cpu'
    import jax
    import orbax.checkpoint as ocp

    steps = [path for path in (folder / 'checkpoints').iterdir() if path.name.isdigit()]
    last = max(steps, key=step_of)
    handler = ocp.StandardCheckpointHandler()
    with ocp.Checkpointer(handler) as checkpointer:
        metadata = handler.metadata(last / 'state')
        tree = getattr(metadata, 'tree', metadata)
        like = jax.tree.map(blank, tree)
        state = checkpointer.restore(
            last / 'state', args=ocp.args.StandardRestore(like)
        )
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def step_of(folder: Path) -> int:
    """The step of a checkpoint folder."""
    return int(folder.name)


def blank(leaf) -> np.ndarray:
    """An array of the shape and dtype that the checkpoint tells: Orbax restores to NumPy."""
    return np.zeros(leaf.shape, leaf.dtype)


def described(array: np.ndarray) -> dict:
    """Shape, dtype and hash of a leaf."""
    return {
        'shape': list(array.shape),
        'dtype': str(array.dtype),
        'sha256': hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
    }


def content(leaf: dict) -> str:
    """What is compared of a leaf, as a string."""
    return f'{leaf["dtype"]}{leaf["shape"]} {leaf["sha256"]}'


def made_with(checkout: Path) -> dict[str, object]:
    """What else could explain a difference."""
    import jax

    commit, changes = (
        subprocess.run(
            ['git', *arguments], cwd=checkout, capture_output=True, text=True
        ).stdout.strip()
        for arguments in (['rev-parse', 'HEAD'], ['status', '--porcelain', '-uno'])
    )
    return {
        'checkout': str(checkout),
        'commit': commit,
        'uncommitted_changes': bool(changes),
        'python': sys.version.split()[0],
        'jax': jax.__version__,
        'numpy': np.__version__,
        'cores': len(os.sched_getaffinity(0)),
    }


def children_seconds() -> float:
    """CPU seconds of all runs until now."""
    times = os.times()
    return times.children_user + times.children_system


def values_folder(out: Path) -> Path:
    """The folder of the leaves' values, beside a record."""
    return out.with_suffix('.values')


# ---------------------------------------------------------------------------------------
# Data sets that are generated


def make_data(work: Path) -> None:
    """Write small data sets, the same ones every time.

    images/SPLIT/CLASS/FILE: JPEG and PNG images of unequal sizes, some of them grey.
    tagged/: such images with several labels each, in a labels.csv.
    films/: animated GIFs with cuts.
    """
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (('train', 12), ('test', 5)):
        for number, name in enumerate(('blue', 'green', 'red')):
            folder = work / 'images' / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                save_image(folder / str(i), make_image(rng, [number]), i)
    lines = ['file,label,split']
    (work / 'tagged').mkdir()
    for i in range(45):
        labels = np.flatnonzero(rng.random(3) < 0.5)
        path = save_image(work / 'tagged' / str(i), make_image(rng, labels), 2 * i + 1)
        names = ';'.join(f'label{label}' for label in labels)
        lines.append(f'{path.name},{names},{"test" if i >= 36 else "train"}')
    (work / 'tagged' / 'labels.csv').write_text('\n'.join(lines) + '\n')
    (work / 'films').mkdir()
    for i in range(5):
        scenes = [make_image(rng, [scene % 3]) for scene in range(3)]
        frames = [
            Image.fromarray(np.roll(scene, 2 * t, axis=1)).resize((40, 32))
            for scene in scenes
            for t in range(int(rng.integers(6, 14)))
        ]
        frames[0].save(
            work / 'films' / f'{i}.gif',
            save_all=True,
            append_images=frames[1:],
            duration=100,
        )


def make_image(rng: np.random.Generator, channels: list[int]) -> np.ndarray:
    """A smooth random RGB image of random size that is bright in some channels."""
    from PIL import Image

    coarse = rng.integers(0, 120, (4, 4, 3))
    coarse[..., channels] += 130
    height, width = rng.integers(20, 61, 2).tolist()
    image = Image.fromarray(coarse.astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def save_image(path: Path, pixels: np.ndarray, number: int) -> Path:
    """Save as JPEG, colour PNG or grey PNG, by the number; return the file."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if number % 2 == 0:
        file = path.with_suffix('.jpg')
        image.save(file, quality=90)
        return file
    file = path.with_suffix('.png')
    if number % 5 == 0:
        image = image.convert('L')
    image.save(file)
    return file


# ---------------------------------------------------------------------------------------
# Comparing


def compare(old_file: Path, new_file: Path, partial: bool = False) -> bool:
    """Print a line for each run; return whether all of them are equal.

    Args:
        old_file: a record.
        new_file: another one.
        partial: leave out the runs that only one of them has.
    """
    old = json.loads(old_file.read_text())
    new = json.loads(new_file.read_text())
    for name in sorted(old['made_with'].keys() | new['made_with'].keys()):
        before = old['made_with'].get(name)
        after = new['made_with'].get(name)
        if before != after:
            print(f'note: {name}: {before} -> {after}')
    all_equal = True
    for name in dict.fromkeys([*old['runs'], *new['runs']]):
        if name not in old['runs'] or name not in new['runs']:
            if not partial:
                where = old_file if name in old['runs'] else new_file
                print(f'{name}: only in {where}')
                all_equal = False
            continue
        differences, notes = compare_run(
            old['runs'][name],
            new['runs'][name],
            values_folder(old_file) / f'{name}.npz',
            values_folder(new_file) / f'{name}.npz',
        )
        all_equal = all_equal and not differences
        print(f'{name}: {"; ".join(differences or ["equal", *notes])}')
    return all_equal


def compare_run(
    old: dict, new: dict, old_values: Path, new_values: Path
) -> tuple[list[str], list[str]]:
    """Compare two records of a run.

    Returns:
        The differences, and notes about what is no difference.
    """
    failures = [
        f'{which} run failed ({run["failed"]}: {" ".join(run["output"][-1:])})'
        for which, run in (('old', old), ('new', new))
        if 'failed' in run
    ]
    if failures:
        return failures, []
    differences = compare_metrics(old['metrics'], new['metrics'])
    if old['sorted_leaves'] == new['sorted_leaves']:
        return differences, renamed_leaves(old['leaves'], new['leaves'])
    with np.load(old_values) as before, np.load(new_values) as after:
        differences += compare_leaves(old['leaves'], new['leaves'], before, after)
    return differences, []


def compare_metrics(old: list[dict], new: list[dict]) -> list[str]:
    """The metrics that differ, with the largest difference of each.

    A metric NAME_hash is left out: it hashes the paths of weights too, and the weights
    are compared as leaves.
    """
    if [row['step'] for row in old] != [row['step'] for row in new]:
        return [f'rows of other steps ({len(old)} and {len(new)} rows)']
    largest = {}
    for before, after in zip(old, new, strict=True):
        for name in sorted(before.keys() | after.keys()):
            a = before.get(name)
            b = after.get(name)
            if name.endswith('_hash'):
                continue
            if a is None or b is None:
                where = 'old' if b is None else 'new'
                largest[name] = (math.inf, f'{name}: only in {where}')
            elif a != b and not (math.isnan(a) and math.isnan(b)):
                difference = abs(a - b)
                text = f'{name} {a!r} -> {b!r} at step {before["step"]}'
                largest[name] = max(largest.get(name, (0.0, '')), (difference, text))
    texts = [text for _, text in largest.values()]
    return shortened(texts, 'metrics')


def compare_leaves(old: dict, new: dict, old_values, new_values) -> list[str]:
    """The leaves that differ, with the largest difference of each, the largest first."""
    before = unmatched(old, new)
    after = unmatched(new, old)
    pairs = [(path, path) for path in before if path in after]
    rest = [path for path in after if path not in before]
    for path in before:
        if path in after:
            continue
        same = [other for other in rest if is_alike(old[path], new[other])]
        if same:
            matchers = [difflib.SequenceMatcher(None, path, other) for other in same]
            ratios = [matcher.ratio() for matcher in matchers]
            pairs.append((path, same[int(np.argmax(ratios))]))
            rest.remove(pairs[-1][1])
    paired = {path for path, _ in pairs}
    missing = [path for path in before if path not in paired]
    texts = [f'{path} only in old' for path in missing]
    texts += [f'{path} only in new' for path in rest]
    found = []
    for path, other in pairs:
        name = path if path == other else f'{path} -> {other}'
        if not is_alike(old[path], new[other]):
            texts.append(f'{name}: other shape or dtype')
            continue
        a = as_float(old_values[path], old[path]['dtype'])
        b = as_float(new_values[other], new[other]['dtype'])
        difference = np.nan_to_num(np.abs(a - b), nan=math.inf)
        absolute = float(np.max(difference, initial=0))
        relative = absolute / max(float(np.max(np.abs(a), initial=0)), 1e-30)
        found.append((relative, absolute, name))
    found.sort(reverse=True)
    summary = []
    if found:
        absolute = max(absolute for _, absolute, _ in found)
        summary = [
            f'{len(found)} of {len(old)} leaves differ, by up to {absolute:.2g} absolutely '
            f'and {found[0][0]:.2g} of the largest value of the leaf'
        ]
    texts += [f'{name} by {a:.2g} ({r:.2g})' for r, a, name in found]
    return summary + shortened(texts, 'leaves')


def unmatched(leaves: dict, others: dict) -> list[str]:
    """The paths of leaves that the others do not have, wherever they are.

    A leaf that is at the same path in both is matched first.
    """
    left = collections.Counter(map(content, others.values()))
    same = [path for path in leaves if leaves[path] == others.get(path)]
    left.subtract(content(leaves[path]) for path in same)
    found = []
    for path in sorted(leaves.keys() - set(same)):
        key = content(leaves[path])
        if left[key] > 0:
            left[key] -= 1
        else:
            found.append(path)
    return found


def is_alike(a: dict, b: dict) -> bool:
    """Whether two leaves have the same shape and dtype."""
    return a['shape'] == b['shape'] and a['dtype'] == b['dtype']


def as_float(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values as float64; NumPy's files do not keep the name of bfloat16."""
    if values.dtype.kind == 'V':
        values = values.view(np.dtype(dtype))
    return values.astype(np.float64)


def renamed_leaves(old: dict, new: dict) -> list[str]:
    """What to tell of leaves that are the same but are at other paths."""
    gone = [path for path in old if old[path] != new.get(path)]
    if not gone:
        return []
    by_content = collections.defaultdict(list)
    for path, leaf in new.items():
        if leaf != old.get(path):
            by_content[content(leaf)].append(path)
    pairs = [f'{path} -> {by_content[content(old[path])].pop(0)}' for path in gone]
    return [f'{len(gone)} of {len(old)} leaves renamed', *shortened(pairs, 'leaves')]


def shortened(texts: list[str], what: str) -> list[str]:
    """The first few texts, and how many more there are."""
    if len(texts) <= SHOWN:
        return texts
    return [*itertools.islice(texts, SHOWN), f'and {len(texts) - SHOWN} more {what}']


# ---------------------------------------------------------------------------------------


def main() -> int:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    recorder = commands.add_parser('record', help='train and record')
    recorder.add_argument('--checkout', type=Path, required=True)
    recorder.add_argument('--out', type=Path, required=True, metavar='FILE.json')
    recorder.add_argument('--only', nargs='+', default=[], metavar='NAME')
    recorder.add_argument(
        '--work',
        type=Path,
        help='folder of runs, caches and generated data, which are removed first; '
        'default: a temporary one',
    )
    recorder.add_argument(
        '--data',
        type=Path,
        help='folder of TFDS data sets with Fashion-MNIST; default: ../shared/data of the '
        'checkout',
    )
    comparer = commands.add_parser('compare', help='compare two records')
    comparer.add_argument('old', type=Path)
    comparer.add_argument('new', type=Path)
    comparer.add_argument(
        '--partial',
        action='store_true',
        help='leave out the runs that only one record has',
    )
    options = parser.parse_args()
    if options.command == 'compare':
        return 0 if compare(options.old, options.new, options.partial) else 1
    checkout = options.checkout.resolve()
    data = (options.data or checkout.parent / 'shared' / 'data').resolve()
    out = options.out.resolve()
    if options.work:
        record(checkout, out, options.only, options.work.resolve(), data)
        return 0
    with tempfile.TemporaryDirectory(prefix='recorded-runs-') as work:
        record(checkout, out, options.only, Path(work), data)
    return 0


if __name__ == '__main__':
    sys.exit(main())
