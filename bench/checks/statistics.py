"""Q: whether there is enough to say anything."""
