"""Bad submissions for the rules of this group."""
