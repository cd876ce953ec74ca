"""Writes the small PyTorch files that tests/weights/test_torch_file.py reads. With PyTorch:

python tests/bench/torch_files.py
"""

from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parents[1] / 'pretrained' / 'data'


def main():
    torch.manual_seed(0)
    counting = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 1, 2, 2)).sum().backward()
    optimizer.step()
    for value in model.state_dict().values():
        value.copy_(torch.arange(value.numel()).reshape(value.shape) + 0.5)
    state = OrderedDict(
        counting=counting,
        transposed=counting.permute(2, 0, 1),
        part=counting[1, 1:, ::2],
        shared=counting,
        half=counting.half()[0],
        double=counting.double()[0] / 3,
        parameter=torch.nn.Parameter(counting[0]),
        number=torch.tensor(-7),
        empty=torch.zeros(0, 3),
        **model.state_dict(),
    )
    state._metadata = model.state_dict()._metadata

    DATA.mkdir(exist_ok=True)
    for name, save in (
        ('zip', {}),
        ('legacy', dict(_use_new_zipfile_serialization=False)),
    ):
        torch.save(state, DATA / f'state_dict_{name}.pth', **save)
        checkpoint = {
            'epoch': 1,
            'args': Namespace(lr=0.1),
            'optimizer': optimizer.state_dict(),
            'best': np.float64(0.5),
            'state_dict': state,
        }
        torch.save(
            checkpoint, DATA / f'checkpoint_{name}.pth', pickle_protocol=4, **save
        )
    torch.save({'epoch': 1, 'net': state}, DATA / 'other_zip.pth')
    torch.save(model, DATA / 'module_zip.pth')
    torch.save(
        {'x': counting.bfloat16(), 'i': counting.int(), 'b': counting > 3},
        DATA / 'dtypes_zip.pth',
    )


if __name__ == '__main__':
    main()
