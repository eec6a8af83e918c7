"""Anchors: digests of a history that are sent to places which the writers of its database can't change.

- `record`: claim a number ─▶ sign ─▶ send ─▶ store the result.
- `places`: a file, a webhook, syslog.
- `timestamps`: a time-stamping authority (RFC 3161).
- `signing`: Ed25519.
- `stored`: checks that the stored anchors are what was sent, and that the history still matches them.
"""
