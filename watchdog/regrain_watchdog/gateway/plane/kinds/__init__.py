"""What functions are made of: an app of the SDK, a server, a process per request, a redirect."""
