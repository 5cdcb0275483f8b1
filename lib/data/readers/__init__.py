"""From bytes to tensors: archives, folders, decoding."""
