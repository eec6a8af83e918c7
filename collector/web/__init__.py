"""Pages, the JSON API, metrics and health, over HTTP. Everything here only reads.

    request ─▶ guard (host, token, size, time, headers) ─▶ app ─▶ a page ─▶ Data ─▶ reports, in separate threads
                                                            └─▶ api, metrics, health

All questions are answered by `reports`. `running` is the state of the service in the same process; `collector web`
has none.
"""
