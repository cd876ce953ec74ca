"""Networks over words or video frames."""
