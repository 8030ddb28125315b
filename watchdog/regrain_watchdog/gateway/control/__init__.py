"""The control plane: OpenFaaS' REST contract, a process of its own whose death stops no invocation."""
