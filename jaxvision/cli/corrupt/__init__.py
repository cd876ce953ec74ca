"""`jaxvision corrupt`: the error of a run on corrupted images."""
