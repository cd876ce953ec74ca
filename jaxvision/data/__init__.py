"""Where examples come from: sources, host decoding, and the pipeline that makes batches of them."""
