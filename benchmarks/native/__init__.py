"""What the native engine is measured on: rows and targets, subjects, layers beside the machine's limits."""
