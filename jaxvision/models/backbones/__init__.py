"""Image classifiers, whose intermediate feature maps other tasks build on."""
