"""From a handler and its requirements to an image that functions run, as `faas-cli up` asks for it."""
