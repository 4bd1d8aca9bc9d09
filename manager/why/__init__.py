"""Why an attempt ended: a pure model of the post-mortem, the shell that collects what it rests on, and its faces."""
