"""The leaderboard as static pages, made from what was submitted: `bench site build`.

A module makes one kind of page: it yields `Piece`s, and `build` makes those that have changed.
Pages work from a disk as over http: links are relative, scripts are classic, data is a script.
"""
