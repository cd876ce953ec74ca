"""The processes of a running sweep."""

from pathlib import Path


def of_trials(folder):
    """The process numbers of the trials of the sweep in a folder."""
    pids = []
    for process in Path('/proc').glob('[0-9]*'):
        try:
            words = (process / 'cmdline').read_bytes().decode().split('\0')
        except OSError:
            continue
        if any(word.startswith(f'{folder}/trials/') for word in words):
            pids.append(int(process.name))
    return pids
