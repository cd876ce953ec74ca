"""PyTorch's part of cpu_step.py and cpu_inference.py: a line with a number of steps in, seconds a
step out.

    python torch_step.py NETWORK train|infer BATCH SIZE CHANNELS CLASSES
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch_references import BasicBlock, Bottleneck, ResNet, SmallCNN

name, mode, batch, size, channels, num_classes = *sys.argv[1:3], *map(int, sys.argv[3:])
if name == 'cnn':
    model = SmallCNN()
elif name == 'resnet18':
    model = ResNet(BasicBlock, (2, 2, 2, 2), num_classes, cifar_stem=True)
else:
    model = ResNet(Bottleneck, (3, 4, 6, 3), num_classes)
model = model.to(memory_format=torch.channels_last)
image = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last)
label = torch.arange(batch) % num_classes
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def train():
    optimizer.zero_grad()
    F.cross_entropy(model(image)['logits'], label).backward()
    optimizer.step()


@torch.inference_mode()
def infer():
    model(image)


model.train(mode == 'train')
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line)):
        {'train': train, 'infer': infer}[mode]()
    print((time.perf_counter() - start) / int(line), flush=True)
