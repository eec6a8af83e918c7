"""Anchors: digests of a history, given to places that the writers of its database do not reach.

record       claim a number ─▶ sign ─▶ hand out ─▶ write down what came of it
places       a file, a webhook, syslog
timestamps   a time-stamping authority (RFC 3161)
signing      Ed25519
stored       are the anchors on record what was handed out, and is the history still the one they are of?
"""
