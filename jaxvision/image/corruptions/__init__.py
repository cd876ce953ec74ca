"""Corruptions of one image [H, W, C] in [0, 1]: noise, blur, weather, digital (ImageNet-C).

`published.corrupt` applies one of 15 corruptions at one of five severities, with the parameters of
Hendrycks & Dietterich 2019, 'Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations'. The other functions take their parameters in units of pixels. All are pure, for jit
and vmap.
"""
