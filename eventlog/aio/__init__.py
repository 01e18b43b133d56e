"""Floor 8: consumers and producers for asyncio."""
