"""What happened: the vocabulary of events, the lifecycle they follow, and the log that keeps them."""
