"""What the history says beyond counting: trends, what is out of the ordinary, what will probably go wrong."""
