"""Telling others what happened.

    poll's transaction: rows ─▶ announcing (which events, for whom) ─▶ outbox                      (store.outbox)
    afterwards, a thread a receiver: claim ─▶ signing, sending (programs) or people ─▶ settle      (delivering)

A poll waits for nobody: what it costs is reading back what it wrote, and only where somebody is told.
"""
