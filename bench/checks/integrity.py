"""H: the manifest has every file and nothing else; an id follows from what it names."""
