"""How long a step takes: what devices can do, what a compiled program asks of them."""
