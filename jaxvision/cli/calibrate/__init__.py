"""`jaxvision calibrate`: temperature, conformal sets and out-of-distribution scores of a run."""
