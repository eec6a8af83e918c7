"""Notifies others of what happened.

    poll's transaction: rows ─▶ announcing (which events, for which receivers) ─▶ outbox        (store.outbox)
    afterwards, one thread per receiver: claim ─▶ signing, sending (programs) or people ─▶ settle  (delivering)

Polls never wait for a receiver. Their only cost is to read back what they wrote, and only if there are receivers.
"""
