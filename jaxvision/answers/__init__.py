"""What predict answers: for images as they are, for images to restore, and out of nothing."""
