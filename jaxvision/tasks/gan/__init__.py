"""Image generation with generative adversarial networks."""
