"""Pictures of an app: geometry first (settle, scene, layout), then one drawing per medium.

Nothing here reads a file or asks a process; a manifest and a plan go in, text or bytes come out.
"""
