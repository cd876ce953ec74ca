"""PyTorch's training step for cpu_step.py: a line with a number of steps in, seconds a step out."""

import sys
import time

import torch
import torch.nn.functional as F

import torch_references

name, batch, size, channels, num_classes = sys.argv[1], *map(int, sys.argv[2:])
if name == 'cnn':
    model = torch_references.SmallCNN()
else:
    model = torch_references.ResNet(torch_references.Bottleneck, (3, 4, 6, 3), num_classes)
model = model.to(memory_format=torch.channels_last)
image = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last)
label = torch.arange(batch) % num_classes
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line)):
        optimizer.zero_grad()
        F.cross_entropy(model(image)['logits'], label).backward()
        optimizer.step()
    print((time.perf_counter() - start) / int(line), flush=True)
