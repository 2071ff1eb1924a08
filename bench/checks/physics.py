"""P: what a meter says, and what a computer did, can have been."""
