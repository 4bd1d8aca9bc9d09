"""The operating system: launching agents, recognising them again, signalling them."""
