"""Pure functions on the host of a video's frames: their features and scores, not their pixels."""
