"""What our own processes say to each other: frames, values and shared memory. Private to Regrain."""
