"""`regrain gateway`, measured from outside."""
