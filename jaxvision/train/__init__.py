"""The engine: it trains any task and knows none by name."""
