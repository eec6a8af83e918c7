"""Pages, the JSON API, metrics and health, over HTTP. Everything here only reads.

    request ─▶ guard (host, token, size, time, headers) ─▶ app ─▶ a page ─▶ Data ─▶ reports, in threads of their own
                                                            └─▶ api, metrics, health

No question is answered here that `reports` does not answer. `running` is what the service in the same process says of
itself; there is none beside `collector web`.
"""
