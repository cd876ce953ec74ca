"""The files of a folder of masks: images/ and masks/, within folders of splits or around them."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.data import dicom_files, masks_reading, volumes, volumes_nifti, walk
from jaxvision.data.annotation_files import is_file
from jaxvision.data.boxes_dataset import left_out
from jaxvision.data.files import image_suffixes
from jaxvision.data.labelled_files import name_in, some
from jaxvision.data.split_names import SPLITS, split_of

IMAGES = 'images'
MASKS = 'masks'
_COMPRESSED = '.nii.gz'


# The files of a folder by their paths in it.
Files = Mapping[str, Path]


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        image: the path of the image.
        mask: the path of the mask.
    """

    image: Path
    mask: Path


@dataclasses.dataclass(frozen=True)
class MaskListing:
    """The images and masks of a dataset.

    Attributes:
        name: the dataset, in messages.
        root: the folder.
        pairs: {split: its images with their masks}, sorted by name; no split is empty.
        notes: what was left out: a sentence each.
    """

    name: str
    root: Path
    pairs: Mapping[str, Sequence[Pair]]
    notes: tuple[str, ...]

    @property
    def images(self) -> dict[str, list[Path]]:
        """{split: the paths of its images}."""
        return {
            split: [pair.image for pair in pairs] for split, pairs in self.pairs.items()
        }


def read(root: Path) -> MaskListing:
    """List the images and masks of a folder. No file is opened.

    There are three layouts: ROOT/images and ROOT/masks, with all files in the split 'train';
    ROOT/SPLIT/images and ROOT/SPLIT/masks; ROOT/images/SPLIT and ROOT/masks/SPLIT. An image and its
    mask have one path in their folders, but for the suffix. A folder of DICOM files may be the
    image of a NIfTI file. Images without a mask, masks without an image, and other files are left
    out with a note.

    Args:
        root: the folder.

    Raises:
        UserError: It is not of a layout above, two files have one name but for the suffix, two
            folders are of one split, or no image has a mask.
    """
    if not root.is_dir():
        raise UserError(f'data.source=masks:{root}: there is no such folder')
    places, notes = _places(root)
    pairs = {}
    strangers = []
    for split, (images, masks) in places.items():
        listed, split_notes = paired(root, split, images, masks)
        notes += split_notes
        if listed:
            pairs[split] = listed
        elif images or masks:
            strangers.append((images, masks))
    if not pairs:
        raise UserError(_no_pairs(root, strangers))
    ordered = {split: pairs[split] for split in SPLITS if split in pairs}
    return MaskListing(f'masks:{root}', root, ordered, tuple(notes))


def _places(root: Path) -> tuple[dict[str, tuple[Files, Files]], list[str]]:
    """({split: (images, masks)}, notes) of the layout that a folder has."""
    by_split: dict[str, dict[str, Path]] = {}
    unread = []
    for name in walk.contents_of(root).folders:
        split = split_of(name)
        if not split or not _has_parts(root / name):
            if name.lower() not in (IMAGES, MASKS):
                unread.append(name)
            continue
        by_split.setdefault(split, {})[name] = root / name
    notes = []
    if unread:
        notes.append(
            f'folders that are neither {IMAGES}, {MASKS} nor splits with these left out: '
            f'{some(unread)}'
        )
    if by_split:
        if _has_parts(root):
            notes.append(
                f'{IMAGES}/ and {MASKS}/ beside the folders of the splits left out'
            )
        return {
            split: _files_of_split(root, split, folders)
            for split, folders in by_split.items()
        }, notes
    images = _part(root, IMAGES)
    masks = _part(root, MASKS)
    if images is None or masks is None:
        raise UserError(
            f'data.source=masks:{root}: expected the folders {IMAGES} and {MASKS} in it, or in '
            f'folders train, validation and test, and it has {_shown_folders(root)}. Name the '
            'folder that holds them'
        )
    inner, inner_notes = _inner_splits(images, masks)
    if inner:
        return inner, notes + inner_notes
    return {'train': (files_below(images), files_below(masks))}, notes


def _has_parts(folder: Path) -> bool:
    """Whether a folder holds images/ or masks/."""
    return bool(_part(folder, IMAGES) or _part(folder, MASKS))


def _part(folder: Path, part: str) -> Path | None:
    """The folder images/ or masks/ in a folder, its name in any case; None if it has none.

    Raises:
        UserError: There are two.
    """
    names = [name for name in walk.contents_of(folder).folders if name.lower() == part]
    if len(names) > 1:
        raise UserError(f'{folder} has {" and ".join(names)}: expected one of them')
    if not names:
        return None
    return folder / names[0]


def _shown_folders(root: Path) -> str:
    names = walk.contents_of(root).folders
    if not names:
        return 'no folders'
    return f'the folders {some(names)}'


def _files_of_split(
    root: Path, split: str, folders: Mapping[str, Path]
) -> tuple[Files, Files]:
    """(images, masks) of a split in the layout SPLIT/images."""
    folder = _only(root, split, folders)
    parts = []
    for part in (IMAGES, MASKS):
        place = _part(folder, part)
        parts.append(files_below(place) if place else {})
    return parts[0], parts[1]


def _only(root: Path, split: str, folders: Mapping[str, Path]) -> Path:
    """The only folder of a split.

    Raises:
        UserError: There are several.
    """
    if len(folders) > 1:
        raise UserError(
            f'{root}: the folders {" and ".join(folders)} are both of the split {split}. Rename '
            'or join them'
        )
    return next(iter(folders.values()))


def _inner_splits(
    images: Path, masks: Path
) -> tuple[dict[str, tuple[Files, Files]], list[str]]:
    """({split: (images, masks)}, notes) of the layout images/SPLIT; {} for another layout."""
    folders = {}
    notes = []
    for place in (images, masks):
        by_split: dict[str, dict[str, Path]] = {}
        contents = walk.contents_of(place)
        for name in contents.folders:
            by_split.setdefault(split_of(name), {})[name] = place / name
        others = [*by_split.pop('', {}), *contents.names]
        folders[place] = {
            split: _only(place, split, named) for split, named in by_split.items()
        }
        if by_split and others:
            outside = f'in {place.name}/ outside of the splits'
            notes.append(left_out(len(others), 'name', outside, others[0]))
    if not folders[images]:
        return {}, []
    splits = dict.fromkeys([*folders[images], *folders[masks]])
    places = {}
    for split in splits:
        parts = [folders[place].get(split) for place in (images, masks)]
        listed = [files_below(part) if part else {} for part in parts]
        places[split] = (listed[0], listed[1])
    return places, notes


def files_below(folder: Path) -> dict[str, Path]:
    """{path in the folder: path} of all files at any depth.

    Raises:
        UserError: A folder cannot be listed.
    """
    listed = {}
    for contents in walk.walk(folder):
        if contents.error:
            raise UserError(f'{contents.path} cannot be listed: {contents.error}')
        for name in contents.names:
            path = Path(contents.join(name))
            listed[name_in(folder, path)] = path
    return listed


def paired(
    root: Path, split: str, images: Files, masks: Files
) -> tuple[list[Pair], list[str]]:
    """Find the mask of each image of a split.

    Args:
        root: the folder of the dataset, for messages.
        split: the split, for messages.
        images: files by their names. An image and its mask have one name but for the suffix.
        masks: files by their names.

    Returns:
        (images with their masks, sorted; notes of the files that are left out).

    Raises:
        UserError: Two images or two masks have one name but for the suffix.
    """
    everything = [*images.values(), *masks.values()]
    no_files = [path for path in everything if not is_file(path)]
    mask_of, other_masks = _by_stem(masks, (*masks_reading.SUFFIXES, *volumes.SUFFIXES))
    folders, flat = _series(images, mask_of)
    suffixes = (*image_suffixes(), *volumes.SUFFIXES, *dicom_files.SUFFIXES)
    image_of, other_files = _by_stem(flat, suffixes)
    image_of |= folders
    pairs = [
        Pair(image, mask_of[stem])
        for stem, image in image_of.items()
        if stem in mask_of
    ]
    unpaired_images = [path for stem, path in image_of.items() if stem not in mask_of]
    unpaired_masks = [path for stem, path in mask_of.items() if stem not in image_of]
    notes = []
    for paths, noun, reason in (
        (unpaired_images, 'image', 'without a mask'),
        (unpaired_masks, 'mask', 'without an image'),
        (no_files, 'name', 'of a broken link, a pipe or the like'),
        (other_masks, 'file', f'of {MASKS}/ that is no PNG, BMP, GIF, TIFF or NIfTI'),
        (other_files, 'file', f'of {IMAGES}/ that is no image'),
    ):
        if paths:
            first = name_in(root, paths[0])
            notes.append(f'{split}: {left_out(len(paths), noun, reason, first)}')
    return sorted(pairs, key=_by_image), notes


def _series(images: Files, mask_of: Files) -> tuple[Files, Files]:
    """The folders of DICOM files that have a volume of labels, and the files elsewhere.

    Args:
        images: files by their names.
        mask_of: masks by their names without suffix. A folder images/CASE belongs to the
            NIfTI file masks/CASE.nii.gz.

    Returns:
        ({name of a folder: its path}, the files of no such folder by their names).
    """
    folders = {}
    others = {}
    for name, path in images.items():
        folder = os.path.dirname(name)
        mask = mask_of.get(folder)
        is_slice = mask is not None and volumes_nifti.is_nifti(mask)
        if is_slice and dicom_files.has_suffix(path):
            folders[folder] = path.parent
        else:
            others[name] = path
    return folders, others


def _by_image(pair: Pair) -> Path:
    return pair.image


def _by_stem(
    files: Files, suffixes: Iterable[str]
) -> tuple[dict[str, Path], list[Path]]:
    """({path without suffix: path}, the files of other suffixes), without what is no file.

    Raises:
        UserError: Two files have one path but for the suffix.
    """
    stems: dict[str, Path] = {}
    others = []
    for name, path in files.items():
        if not is_file(path):  # Opening a pipe would wait for ever.
            continue
        stem, suffix = _split_suffix(name)
        if suffix.lower() not in suffixes:
            others.append(path)
            continue
        other = stems.setdefault(stem, path)
        if other is not path:
            raise UserError(
                f'{other} and {path} have one name but for the suffix. Remove one of them, since '
                'a mask belongs to one image'
            )
    return stems, others


def _split_suffix(name: str) -> tuple[str, str]:
    """(the name without its suffix, the suffix); '.nii.gz' is one suffix."""
    if name.lower().endswith(_COMPRESSED):
        return name[: -len(_COMPRESSED)], name[-len(_COMPRESSED) :]
    return os.path.splitext(name)


def _no_pairs(root: Path, strangers: Sequence[tuple[Files, Files]]) -> str:
    """The message that no image has a mask, with the first names of each."""
    shown = []
    for images, masks in strangers:
        shown += [*list(images)[:1], *list(masks)[:1]]
    names = f': there are {some(shown)}' if shown else ' and there are no files'
    return (
        f'data.source=masks:{root}: expected masks with the names of the images but for the '
        f'suffix{names}. Masks are PNG, BMP, GIF, TIFF or NIfTI files'
    )
