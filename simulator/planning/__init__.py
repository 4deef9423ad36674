"""What to ask next: other batches, precisions and machines, found by asking the same program again."""
