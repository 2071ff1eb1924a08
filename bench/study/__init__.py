"""Many runs, one ledger: what is planned, started and ended survives who drives it.

`job` says what a run is asked, `ledger` keeps what became of it, `attempt` is the process that
makes one run, `executors` start such processes, `drive` has them made one after another or beside
each other. `grid` plans a study; `table` says what came out, by the arithmetic of the board.
"""
