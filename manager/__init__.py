"""What should happen to agents, and the faces shown to people."""
