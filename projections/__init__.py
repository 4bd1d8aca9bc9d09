"""What the log looks like: tables that are folds of it, and the questions that people ask of them."""
